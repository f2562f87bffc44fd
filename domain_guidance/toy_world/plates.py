"""Pictures of the domain: painted by the hundred, and 256 of them as one sheet that comes with the pack."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .digits import load_digits
from .model import CHANNELS, IMAGE_SIZE
from .scenes import paint_domain

SHEET = Path(__file__).parent / "plates.png"
ACROSS = 16  # plates along each side of the sheet
SEED = 1812


def painted_plates(count: int) -> Tensor:
    """Paint `count` plates as a picture file holds them, uint8 [N, 16, 16, 3].

    The handwriting is that which domains are trained on. Needs scikit-learn (the extra `demo`).
    """
    images = paint_domain(load_digits("domain"), count, torch.Generator().manual_seed(SEED)).images
    return ((images + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)


def write_sheet(path: Path = SHEET) -> None:
    tiles = painted_plates(ACROSS**2).view(ACROSS, ACROSS, IMAGE_SIZE, IMAGE_SIZE, CHANNELS)
    side = ACROSS * IMAGE_SIZE
    Image.fromarray(tiles.transpose(1, 2).reshape(side, side, CHANNELS).numpy()).save(path, optimize=True)


def read_sheet() -> Tensor:
    """The plates that come with the pack, in [0, 1], [256, 16, 16, 3]. Needs neither scikit-learn nor diffusers."""
    with Image.open(SHEET) as sheet:
        pixels = torch.frombuffer(bytearray(sheet.convert("RGB").tobytes()), dtype=torch.uint8)
    tiles = pixels.view(ACROSS, IMAGE_SIZE, ACROSS, IMAGE_SIZE, CHANNELS).transpose(1, 2)
    return tiles.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, CHANNELS).float() / 255
