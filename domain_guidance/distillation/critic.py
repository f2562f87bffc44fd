"""The critic of a distillation: a diffusion model that says what the clean latent should have been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..diffusion.denoiser import Denoiser
from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction


class Critic(Protocol):
    """A diffusion model with its guidance and its VAE, as a distillation reads it."""

    @property
    def prediction(self) -> Prediction:
        """What the model puts out."""
        ...

    @property
    def schedule(self) -> NoiseSchedule:
        """Its noise levels."""
        ...

    def denoise(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the guided denoised prediction [B, C, h, w] at noise levels [B], in the model's latent scale.

        Called without a graph; with a directional regulariser the batch holds every picture twice.
        """
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the mode of the VAE's posterior [B, C, h, w] for pixels [B, 3, R, R] in [-1, 1], with a graph.

        It is in the model's latent scale.
        """
        ...


@dataclass(frozen=True)
class BatchedGuidance:
    """Classifier-free guidance of a critic, D = D(empty) + cfg [D(prompt) - D(empty)], in one call of the model.

    prompt, empty: [1, T, D]. cfg: the paper's is 100.
    """

    denoiser: Denoiser[Tensor]
    prompt: Tensor
    empty: Tensor
    cfg: float = 100.0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        both = torch.cat([self.empty.expand(len(x), -1, -1), self.prompt.expand(len(x), -1, -1)])
        empty, prompted = self.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), both).chunk(2)
        return empty + self.cfg * (prompted - empty)
