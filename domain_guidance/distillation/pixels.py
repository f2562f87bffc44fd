"""A generator's picture as a critic's VAE expects it, and the gradient on its way back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusion.dimensions import append_dims

PERCENTILE = 0.95


def critic_pixels(images: Tensor, resolution: int, *, antialias: bool = False) -> Tensor:
    """Images [B, 3, H, W], nominally in [-1, 1], bilinear at resolution x resolution and clamped to [-1, 1].

    antialias: our option; the paper's release resizes without.
    """
    if images.shape[-2:] != (resolution, resolution):
        images = F.interpolate(
            images, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=antialias
        )
    return images.clamp(-1.0, 1.0)


def clip_to_percentile(gradient: Tensor, share: float = PERCENTILE) -> Tensor:
    """Clamp each image's gradient [B, ...] at the quantile `share` of its own magnitudes.

    A share of 1 clips nothing.
    """
    magnitudes = gradient.abs().flatten(1)
    # As kthvalue and not torch.quantile, which takes no more than 16 million values.
    rank = max(1, round(share * magnitudes.shape[1]))
    limit = append_dims(magnitudes.kthvalue(rank, dim=1).values, gradient)
    return torch.maximum(torch.minimum(gradient, limit), -limit)
