"""Samplers for library use; inside ComfyUI its own samplers run.

All take a callable `denoise(x, sigma)`; bind the conditioning with `functools.partial` or a lambda.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .noise_schedule import NoiseSchedule

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(noisy latent [B, C, h, w], noise level [B]) -> denoised prediction [B, C, h, w]."""

Sampler = Callable[[Denoise, Tensor, Tensor], Tensor]
"""(denoise, latent [B, C, h, w] at the first noise level, noise levels [N + 1]) -> latent at the last one."""


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Noise levels [steps + 1] that fall to 0 (Karras et al. 2022, arXiv 2206.00364, equation 5)."""
    ramp = torch.linspace(0, 1, steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1)])


def sample_euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """Follow the probability flow by Euler's method (Karras et al. 2022, algorithm 1 without churn).

    x: [B, C, H, W] at sigmas[0].
    """
    for sigma, following in zip(sigmas[:-1], sigmas[1:]):
        direction = (x - denoise(x, sigma.expand(len(x)))) / sigma
        x = x + direction * (following - sigma)
    return x


def sample_dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """Follow the probability flow by DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2), in sigma.

    x: [B, C, H, W] at sigmas[0].
    """
    previous: tuple[Tensor, Tensor] | None = None  # the prediction and the step before this one
    for sigma, following in zip(sigmas[:-1], sigmas[1:]):
        current = denoise(x, sigma.expand(len(x)))
        step = sigma.log() - following.log()  # infinite at the last step: x becomes the prediction
        target = current
        if previous is not None and following > 0:
            before, step_before = previous
            target = current + (current - before) / (2 * step_before / step)
        x = (following / sigma) * x - torch.expm1(-step) * target
        previous = current, step
    return x


def sample_euler_ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, generator: torch.Generator) -> Tensor:
    """Euler's method with fresh noise after each step (the noise level is split as in k-diffusion).

    x: [B, C, H, W] at sigmas[0]. generator: of the fresh noise, which is drawn on its device.
    """
    for sigma, following in zip(sigmas[:-1], sigmas[1:]):
        fresh = (following**2 * (sigma**2 - following**2) / sigma**2).sqrt()
        down = (following**2 - fresh**2).sqrt()
        x = x + (x - denoise(x, sigma.expand(len(x)))) / sigma * (down - sigma)
        x = x + torch.randn(x.shape, generator=generator, device=generator.device).to(x) * fresh
    return x


def draw(
    denoise: Denoise,
    noise: Tensor,
    schedule: NoiseSchedule,
    steps: int,
    start: Tensor | None = None,
    strength: float = 1.0,
    sampler: Sampler = sample_dpmpp_2m,
) -> Tensor:
    """Draw latents [B, C, H, W] on Karras levels over the whole range of a schedule, with DPM-Solver++(2M) by default.

    noise: [B, C, H, W] of unit variance, on the device to draw on. start: clean latents to begin with, as
    image-to-image does, `strength` of the steps before the end.
    """
    sigmas = karras_sigmas(steps, float(schedule.sigmas[0]), float(schedule.sigmas[-1])).to(noise.device)
    sigmas = sigmas[steps - round(strength * steps) :]
    x = noise * sigmas[0]
    return sampler(denoise, x if start is None else start + x, sigmas)
