"""The two fixed filters of StyleGAN2, both made of [1, 3, 3, 1] in each direction (arXiv 1912.04958, appendix B)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TAPS = (1.0, 3.0, 3.0, 1.0)


def kernel(like: Tensor) -> Tensor:
    """The filter [4, 4], sum 4: the gain makes up for the zeros that a doubling of the size puts between the pixels."""
    taps = torch.tensor(TAPS, dtype=like.dtype, device=like.device)
    return torch.outer(taps, taps) / 16


def blur(x: Tensor) -> Tensor:
    """What follows a transposed convolution: [N, C, 2H + 1, 2W + 1] to [N, C, 2H, 2W], zeros outside."""
    channels = x.shape[1]
    return F.conv2d(x, kernel(x).expand(channels, 1, 4, 4), padding=1, groups=channels)


def double(images: Tensor) -> Tensor:
    """Images [N, C, H, W] at twice their size: zeros between the pixels and outside, then the filter.

    The filter at that stride weighs neighbours 3 : 1, as bilinear resizing does, which is several times faster; the rim
    of zeros gives it the filter's border.
    """
    return F.interpolate(F.pad(images, (1, 1, 1, 1)), scale_factor=2, mode="bilinear", align_corners=False)[
        ..., 2:-2, 2:-2
    ]
