"""The pictures that the ink domain learned from, one of each thing, as one sheet that comes with the pack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .model import IMAGE_SIZE
from .scenes import lay
from .things import GROUNDS, ON_WHITE, shown

SHEET = Path(__file__).parent / "ink.png"
ACROSS = 8  # pictures in a row of the sheet
SEED = 1901


def write_sheet(drawn: Mapping[str, Tensor], path: Path = SHEET) -> None:
    """Write one picture of each shown thing, in rows. drawn: the drawings of `read_drawings`."""
    white = torch.full((len(shown()),), list(GROUNDS).index("white"))
    images = lay(drawn[ON_WHITE][shown()], white, torch.Generator().manual_seed(SEED))
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)
    rows = -(-len(pixels) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * IMAGE_SIZE, rows * IMAGE_SIZE), "white")
    for place, picture in enumerate(pixels):
        sheet.paste(Image.fromarray(picture.numpy()), _corner(place))
    sheet.convert("L").save(path, optimize=True)


def read_sheet() -> Tensor:
    """The pictures that come with the pack, in [0, 1], [N, 64, 64, 3]."""
    with Image.open(SHEET) as sheet:
        tiles = [
            sheet.crop((x, y, x + IMAGE_SIZE, y + IMAGE_SIZE)).convert("RGB")
            for x, y in map(_corner, range(len(shown())))
        ]
    pixels = [torch.frombuffer(bytearray(tile.tobytes()), dtype=torch.uint8) for tile in tiles]
    return torch.stack(pixels).view(-1, IMAGE_SIZE, IMAGE_SIZE, 3).float() / 255


def _corner(place: int) -> tuple[int, int]:
    return place % ACROSS * IMAGE_SIZE, place // ACROSS * IMAGE_SIZE
