"""The training loss of every model kind: noise a clean latent, ask the network for what its kind puts out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction, add_noise, network_input, training_target
from ..diffusion.time_sampling import TimeSampling, draw_timesteps
from ..runs.loop import Objective
from ..runs.share import Share


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
    share: Share = Share(),
) -> Objective:
    """The objective of a diffusion model for `loop.train`.

    predict: (scaled noisy latent [B, C, H, W], timestep [B], conditioning) -> network output [B, C, H, W].
    data: draws a batch with the generator it is given. weight: of the loss at noise levels [B]; the paper's is 1.
    """

    def objective(generator: torch.Generator) -> Tensor:
        return noise_loss(predict, data(generator), schedule, prediction, generator, weight, share)

    return objective


def noise_loss(
    predict: Predict,
    batch: Batch,
    schedule: NoiseSchedule,
    prediction: Prediction,
    generator: torch.Generator,
    weight: Weight | None = None,
    share: Share = Share(),
    times: TimeSampling = "uniform",
) -> Tensor:
    """Mean squared error at drawn timesteps (arXiv 2312.08195: plain noise MSE, t uniform). A scalar.

    Timesteps and noise are drawn on the CPU, so that a seed means the same on every device, and for the batch of all
    shares, of which this share's part is taken: so it does not matter how a batch is divided.
    """
    count = share.count * len(batch.clean)
    timestep = share.of(draw_timesteps(count, schedule, times, generator))
    noise = share.of(torch.randn(count, *batch.clean.shape[1:], generator=generator))
    errors = noise_errors(predict, batch, schedule, prediction, timestep, noise)
    if weight is None:
        return errors.mean()
    return (weight(schedule.sigma(timestep).to(errors)) * errors).mean()


def noise_errors(
    predict: Predict,
    batch: Batch,
    schedule: NoiseSchedule,
    prediction: Prediction,
    timestep: Tensor,
    noise: Tensor,
) -> Tensor:
    """The mean squared error [B] of each image of a batch.

    timestep: [B]. noise: [B, C, H, W]. Both on the CPU.
    """
    clean, noise = batch.clean, noise.to(batch.clean)
    sigma = schedule.sigma(timestep).to(clean)
    noisy = network_input(add_noise(clean, noise, sigma, prediction), sigma, prediction)
    output = predict(noisy, timestep.to(clean.device), batch.conditioning)
    target = training_target(clean, noise, sigma, prediction)
    return (output.float() - target.float()).square().flatten(1).mean(1)


def min_snr(cap: float, prediction: Prediction) -> Weight:
    """The loss weight min(SNR, cap) of Hang et al.

    2023 (arXiv 2303.09556), for noise levels [B], in terms of what the network puts out.

    The weight belongs to the error of the denoised prediction, which is sigma (noise, flow) or sigma / sqrt(sigma^2 +
    1) (velocity) times the output's. For noise this is min(SNR, cap) / SNR, for velocity min(SNR, cap) / (SNR + 1).
    """

    def weight(sigma: Tensor) -> Tensor:
        power = sigma.square()
        snr = ((1 - sigma) / sigma).square() if prediction == "flow" else 1 / power
        capped = snr.clamp(max=cap)
        return capped * (power / (power + 1) if prediction == "v_prediction" else power)

    return weight
