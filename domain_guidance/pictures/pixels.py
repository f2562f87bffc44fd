"""From pixel values to a picture of 8 bits."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor


def as_picture(image: Tensor) -> Image.Image:
    """An image [3, H, W], nominally in [-1, 1], of any precision and on any device, as an RGB picture; what lies beyond
    is cut off.
    """
    levels = ((image.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).numpy())
