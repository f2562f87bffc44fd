"""The training loss of every model kind: noise a clean latent, ask the network for what its kind puts out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..noise_schedule import NoiseSchedule
from ..parameterization import Prediction, add_noise, network_input, training_target
from .loop import Objective


@dataclass(frozen=True)
class Batch:
    """Clean latents [B, C, H, W] in the model's scale, and whatever conditioning `predict` understands.

    Domain training gives the empty prompt; a base gives its prompts.
    """

    clean: Tensor
    conditioning: Any


Predict = Callable[[Tensor, Tensor, Any], Tensor]
Data = Callable[[torch.Generator], Batch]
Weight = Callable[[Tensor], Tensor]


def noise_objective(
    predict: Predict,
    data: Data,
    schedule: NoiseSchedule,
    prediction: Prediction = "epsilon",
    weight: Weight | None = None,
) -> Objective:
    """The objective of a diffusion model for `loop.train`.

    predict: (scaled noisy latent [B, C, H, W], timestep [B], conditioning) -> network output [B, C, H, W].
    data: draws a batch with the generator it is given. weight: of the loss at noise levels [B]; the paper's is 1.
    """

    def objective(generator: torch.Generator) -> Tensor:
        return noise_loss(predict, data(generator), schedule, prediction, generator, weight)

    return objective


def noise_loss(
    predict: Predict,
    batch: Batch,
    schedule: NoiseSchedule,
    prediction: Prediction,
    generator: torch.Generator,
    weight: Weight | None = None,
) -> Tensor:
    """Mean squared error at uniformly drawn timesteps (arXiv 2312.08195: plain noise MSE, t uniform). A scalar.

    Timesteps and noise are drawn on the CPU, so that a seed means the same on every device.
    """
    clean = batch.clean
    timestep = torch.randint(len(schedule.sigmas), (len(clean),), generator=generator)
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    sigma = schedule.sigma(timestep).to(clean)
    noisy = network_input(add_noise(clean, noise, sigma, prediction), sigma, prediction)
    output = predict(noisy, timestep.to(clean.device), batch.conditioning)
    target = training_target(clean, noise, sigma, prediction)
    errors = (output.float() - target.float()).square().flatten(1).mean(1)
    return errors.mean() if weight is None else (weight(sigma.float()) * errors).mean()
