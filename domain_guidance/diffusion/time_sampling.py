"""Which noise levels a training sees how often.

uniform: every step of the schedule alike, as noise predictors are trained (Ho et al. 2020, arXiv 2006.11239).
logit-normal: the middle of the path more often than its ends, t = sigmoid(n), as flow models are trained (Esser et al.
    2024, arXiv 2403.03206, section 3.1, location 0 and scale 1). A schedule that is shifted towards noise, as those of
    SD3, Flux, Qwen-Image, Z-Image and Wan are, shifts what is drawn with it, as in that paper's section 5.3.2.
log-normal: log sigma = -1.2 + 1.2 n, as networks on continuous levels are trained (Karras et al. 2022, arXiv
    2206.00364, table 1).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from .noise_schedule import NoiseSchedule
from .parameterization import Prediction

TimeSampling = Literal["uniform", "logit-normal", "log-normal"]
TIME_SAMPLINGS: tuple[str, ...] = get_args(TimeSampling)
LOG_MEAN, LOG_SCALE = -1.2, 1.2


def usual_sampling(prediction: Prediction, continuous: bool = False) -> TimeSampling:
    """How models of a kind are trained. continuous: on levels evenly spaced in log sigma (EDM)."""
    if prediction == "flow":
        return "logit-normal"
    return "log-normal" if continuous else "uniform"


def draw_timesteps(count: int, schedule: NoiseSchedule, sampling: TimeSampling, generator: torch.Generator) -> Tensor:
    """Whole indices [count] into the schedule, on the CPU."""
    steps = len(schedule.sigmas)
    if sampling == "uniform":
        return torch.randint(steps, (count,), generator=generator)
    normal = torch.randn(count, generator=generator)
    if sampling == "logit-normal":
        return (normal.sigmoid() * steps).long().clamp(max=steps - 1)
    return schedule.timestep((LOG_MEAN + LOG_SCALE * normal).exp())
