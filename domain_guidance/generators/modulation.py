"""Convolutions whose weights a style scales, written so that one convolution serves a whole batch.

Scaling the weights' inputs by a style equals scaling the convolution's input, and the demodulation, a factor of each
output channel, equals scaling its output. So no image of a batch needs weights of its own. One image alone has the
choice, and takes whichever is smaller.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from .fir import blur

EPSILON = 1e-8


def modulated_conv(x: Tensor, weight: Tensor, styles: Tensor, *, gain: float = 1.0, up: bool = False) -> Tensor:
    """arXiv 1912.04958, equations 1 to 3, times `gain`.

    x: [N, I, H, W]; weight: [O, I, 3, 3]; styles: [N, I]. up: double the size, with a transposed convolution and the
    filter. Returns [N, O, H, W] (2H, 2W with `up`) in x's precision. Styles and weights are multiplied in their own.
    """
    epsilon: Tensor | float = EPSILON
    if x.dtype in (torch.float16, torch.bfloat16):
        weight, styles, epsilon = _in_range(weight, styles)
    demodulation = gain * torch.rsqrt(styles.square() @ weight.square().sum((2, 3)).T + epsilon)
    outputs = weight.shape[0] * x[0, 0].numel() * (4 if up else 1)
    if len(x) == 1 and x.numel() + outputs > weight.numel():  # one image whose maps are larger than the weights
        weight = weight * (demodulation.T * styles)[:, :, None, None]
        return _conv(x, weight.to(x.dtype), up)
    y = _conv(x * styles[:, :, None, None].to(x.dtype), weight.to(x.dtype), up)
    return y * demodulation[:, :, None, None].to(x.dtype)


def _conv(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)) if up else F.conv2d(x, weight, padding=1)


def _in_range(weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of norm 1 for each output and styles of at most 1, which no half precision overflows on; the demodulation
    takes both factors out again, so only its epsilon has to know them, [N, O].
    """
    norm = weight.square().sum((1, 2, 3), keepdim=True).sqrt().clamp_min(EPSILON)
    largest = styles.abs().amax(1, keepdim=True).clamp_min(EPSILON)
    return weight / norm, styles / largest, EPSILON / (largest * norm.flatten()).square()


def to_rgb(x: Tensor, weight: Tensor, styles: Tensor, bias: Tensor) -> Tensor:
    """Apply a modulated 1x1 convolution without demodulation.

    x [N, I, H, W], weight [O, I, 1, 1], styles [N, I] and bias [O] to [N, O, H, W]. Of so few outputs it is the weights
    that are cheaper to scale, image by image; the product is taken over the batch at once.
    """
    scaled = weight[None, :, :, 0, 0] * (styles / sqrt(styles.shape[1]))[:, None, :]
    return torch.einsum("noi,nihw->nohw", scaled.to(x.dtype), x) + bias.to(x.dtype)[:, None, None]
