"""From pixel values to a picture of 8 bits."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor


def as_picture(image: Tensor) -> Image.Image:
    """Turn an image [3, H, W], nominally in [-1, 1], into an RGB picture.

    Any precision and device will do; what lies beyond the range is cut off.
    """
    levels = ((image.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).numpy())
