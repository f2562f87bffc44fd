"""The discrete noise schedule of Stable Diffusion, as noise levels.

sigma = sqrt((1 - a) / a), where a is the cumulative alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .double_precision import in_double


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise level of every timestep of a model.

    sigmas: [T], rising; sigmas[t] is the noise level of timestep t.
    """

    sigmas: Tensor

    @property
    def is_even_in_log_sigma(self) -> bool:
        """Whether the levels are a table of continuous ones (EDM), and not those of a diffusion in steps."""
        steps = in_double(self.sigmas).log().diff()
        return len(steps) > 1 and bool((steps - steps.mean()).abs().max() <= 1e-3 * steps.mean())

    def timestep(self, sigma: Tensor) -> Tensor:
        """The nearest timestep, in log sigma, of each sigma [B]; long [B].

        Nearest, not interpolated: the network was trained on whole timesteps, and ComfyUI rounds the same way, so that
        one file gives one trajectory in both hosts.
        """
        distance = sigma.log()[:, None] - self.sigmas.to(sigma).log()[None]
        return distance.abs().argmin(dim=1)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The noise level [B] of each whole timestep [B]."""
        return self.sigmas.to(timestep.device)[timestep]


def scaled_linear(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> NoiseSchedule:
    """Stable Diffusion's betas: linear in sqrt(beta). `first` and `last` are the betas of the first and last step."""
    betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, dim=0)
    return NoiseSchedule(((1 - alphas) / alphas).sqrt().float())
