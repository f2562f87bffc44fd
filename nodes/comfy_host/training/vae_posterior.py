"""The VAE of a graph as the latent cache needs it: posteriors of pictures, and pictures of latents."""

from __future__ import annotations

from contextlib import nullcontext

import comfy.model_management
import comfy.sd
import torch
from comfy.ldm.modules.distributions.distributions import DiagonalGaussianDistribution
from torch import Tensor

from ....domain_guidance.domains.fingerprint import fingerprint
from .frames import as_pictures

AT_ONCE = 4  # pictures encoded together, where memory allows


class Posteriors:
    """Calls a VAE's encoder as the host does, and keeps what the host's `encode` throws away: the log-variance."""

    def __init__(self, vae: comfy.sd.VAE):
        vae.throw_exception_if_invalid()
        if vae.latent_dim not in (2, 3):
            raise ValueError(
                "The VAE makes neither images nor video, but a domain is trained from images: connect the model's own "
                "VAE."
            )
        self._vae, self._network = vae, vae.first_stage_model

    @property
    def cell(self) -> int:
        """Pixels a latent cell."""
        return self._vae.spacial_compression_encode()

    @property
    def fingerprint(self) -> str:
        return f"{type(self._network).__name__} {fingerprint(self._network.state_dict())}"

    def batch_size(self, pixels: int) -> int:
        """How many pictures of so many pixels fit the device at once."""
        needed = self._vae.memory_used_encode((1, 3, *self._one_frame, pixels, 1), self._vae.vae_dtype)
        free = comfy.model_management.get_free_memory(self._vae.device)
        return int(max(1, min(AT_ONCE, free // max(1, needed))))

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """The posterior's mean and log-variance [B, C, h, w] of pixels [B, 3, H, W] in [-1, 1].

        The log-variance is None for a VAE that has no posterior.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        images = self._input(pixels)
        needed = self._vae.memory_used_encode(images.shape, self._vae.vae_dtype)
        comfy.model_management.load_models_gpu([self._vae.patcher], memory_required=needed)
        seen: list[Tensor] = []
        with torch.inference_mode(), self._watching(seen):
            latent = as_pictures(self._network.encode(images.to(self._vae.device, self._vae.vae_dtype)))
            logvar = as_pictures(DiagonalGaussianDistribution(seen[0]).logvar) if seen else None
            # A VAE that rearranges its latents afterwards has no log-variance that belongs to them.
            if logvar is not None and logvar.shape != latent.shape:
                logvar = None
            mean, logvar = latent.float().cpu(), None if logvar is None else logvar.float().cpu()
        return mean.clone(), None if logvar is None else logvar.clone()

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures [B, H, W, 3] in [0, 1] of latents [B, C, h, w] in the VAE's own scale.

        The VAE must be loaded: asking the host to load it now could push a model in training off the device.
        """
        with torch.inference_mode():
            if self._vae.latent_dim == 3:
                latent = latent.unsqueeze(2)
            pixels = as_pictures(self._network.decode(latent.to(self._vae.device, self._vae.vae_dtype)))
            return self._vae.process_output(pixels.float()).movedim(1, -1).clamp(0, 1).cpu()

    @property
    def _one_frame(self) -> tuple[int, ...]:
        return (1,) if self._vae.latent_dim == 3 else ()

    def _input(self, pixels: Tensor) -> Tensor:
        """Pixels as the encoder reads them."""
        images = (pixels + 1) / 2
        if getattr(self._vae, "output_channels", 3) > 3:  # beyond colour (Qwen's layers), which the host fills up
            images = self._vae.vae_encode_crop_pixels(images.movedim(1, -1)).movedim(-1, 1)
        return self._vae.process_input(images.unsqueeze(2) if self._vae.latent_dim == 3 else images)

    def _watching(self, seen: list[Tensor]):
        regularization = getattr(self._network, "regularization", None)
        if regularization is None:
            return nullcontext()
        return regularization.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
