"""The critic of a distillation: any function that says what the clean latent should have been."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.denoiser import Denoiser

Critic = Callable[[Tensor, Tensor], Tensor]
"""(noisy latent [B, C, h, w], noise level [B]) -> guided denoised prediction [B, C, h, w]. Called without a graph."""


@dataclass(frozen=True)
class BatchedGuidance:
    """Classifier-free guidance as a critic, D = D(empty) + cfg [D(prompt) - D(empty)], in one call of the model.

    prompt, empty: [1, T, D]. cfg: the paper's is 100.
    """

    denoiser: Denoiser
    prompt: Tensor
    empty: Tensor
    cfg: float = 100.0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        both = torch.cat([self.empty.expand(len(x), -1, -1), self.prompt.expand(len(x), -1, -1)])
        empty, prompted = self.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), both).chunk(2)
        return empty + self.cfg * (prompted - empty)
