"""Two deterministic samplers for library use; inside ComfyUI its own samplers run.

Both take a callable `denoise(x, sigma)`; bind the conditioning with `functools.partial` or a lambda.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Noise levels [steps + 1], falling to 0 (Karras et al. 2022, arXiv 2206.00364, equation 5)."""
    ramp = torch.linspace(0, 1, steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1)])


def sample_euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """Euler's method on the probability flow (Karras et al.

    2022, algorithm 1 without churn). x: [B, C, H, W] at sigmas[0].
    """
    for sigma, following in zip(sigmas[:-1], sigmas[1:]):
        direction = (x - denoise(x, sigma.expand(len(x)))) / sigma
        x = x + direction * (following - sigma)
    return x


def sample_dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2), in sigma. x: [B, C, H, W] at sigmas[0]."""
    previous, previous_step = None, None
    for sigma, following in zip(sigmas[:-1], sigmas[1:]):
        current = denoise(x, sigma.expand(len(x)))
        step = sigma.log() - following.log()  # infinite at the last step: x becomes the prediction
        target = current
        if previous is not None and following > 0:
            ratio = previous_step / step
            target = current + (current - previous) / (2 * ratio)
        x = (following / sigma) * x - torch.expm1(-step) * target
        previous, previous_step = current, step
    return x
