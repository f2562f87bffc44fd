"""What a host has to offer so that its diffusion model can judge a generator: ComfyUI and diffusers each have one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction


class CriticModel(Protocol):
    """A diffusion model with its guidance and its VAE.

    prediction: what the model puts out. schedule: its noise levels. device: where it computes, and the generator with
    it.
    identity: plain JSON values that a resumed run must share: the model, prompts, guidance. A user reads the names when
    one
        differs, and the adapted generator's card says them.
    """

    @property
    def prediction(self) -> Prediction: ...

    @property
    def schedule(self) -> NoiseSchedule: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def identity(self) -> Mapping[str, Any]: ...

    def denoise(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """The guided denoised prediction [B, C, h, w] at noise levels [B], in the model's latent scale.

        Called without a graph; with a directional regulariser the batch holds every picture twice.
        """
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, R, R] in [-1, 1] to the mode of the VAE's posterior [B, C, h, w] in the model's latent scale,
        with a graph.
        """
        ...
