"""A picture for a network of video is a video of one frame: the frame axis comes and goes here alone.

Everything else of a training (cache, loss, previews) sees pictures, [B, C, h, w], whatever the network.
"""

from __future__ import annotations

from comfy.latent_formats import LatentFormat
from torch import Tensor


def as_network_sees(pictures: Tensor, latent_format: LatentFormat) -> Tensor:
    """Latents [B, C, h, w] as the network reads them: [B, C, 1, h, w] for one of video."""
    return pictures.unsqueeze(2) if latent_format.latent_dimensions == 3 else pictures


def as_pictures(latents: Tensor) -> Tensor:
    """The inverse; of a video its first frame."""
    return latents[:, :, 0] if latents.ndim == 5 else latents
