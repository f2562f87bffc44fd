"""Pictures that the domains learned from, which come with the pack: one of each thing in ink, and examples of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .model import IMAGE_SIZE
from .scenes import lay
from .things import DOMAINS, GROUNDS, ON_WHITE, THINGS, shown

SHEET = Path(__file__).parent / "ink.png"
EXAMPLES = Path(__file__).parent / "examples.png"
EXAMPLE_THINGS = ("duck", "strawberry", "rocket")  # of the shown ones
ACROSS = 8  # pictures in a row of the sheet
SEED = 1901


def write_sheet(drawn: Mapping[str, Tensor], path: Path = SHEET) -> None:
    """Write one picture of each shown thing, in rows. drawn: the drawings of `read_drawings`."""
    _join(_on_white(drawn[ON_WHITE][shown()])).convert("L").save(path, optimize=True)


def read_sheet() -> Tensor:
    """The ink drawings of SHEET, in [0, 1], [N, 64, 64, 3]."""
    return _split(SHEET, len(shown()))


def write_examples(drawn: Mapping[str, Tensor], path: Path = EXAMPLES) -> None:
    """Write some pictures of each domain. drawn: the drawings of `read_drawings`."""
    chosen = [list(THINGS).index(name) for name in EXAMPLE_THINGS]
    _join(torch.cat([_on_white(drawn[hand][chosen]) for hand in DOMAINS])).save(path, optimize=True)


def read_examples() -> dict[str, Tensor]:
    """Pictures [N, 3, 64, 64] in [-1, 1] that each domain was trained on."""
    images = _split(EXAMPLES, len(DOMAINS) * len(EXAMPLE_THINGS)).movedim(-1, 1) * 2 - 1
    return dict(zip(DOMAINS, images.split(len(EXAMPLE_THINGS))))


def _on_white(drawings: Tensor) -> Tensor:
    white = torch.full((len(drawings),), list(GROUNDS).index("white"))
    return lay(drawings, white, torch.Generator().manual_seed(SEED))


def _join(images: Tensor) -> Image.Image:
    """Pictures [N, 3, 64, 64] in [-1, 1] as one, in rows."""
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)
    rows = -(-len(pixels) // ACROSS)
    sheet = Image.new("RGB", (min(len(pixels), ACROSS) * IMAGE_SIZE, rows * IMAGE_SIZE), "white")
    for place, picture in enumerate(pixels):
        sheet.paste(Image.fromarray(picture.numpy()), _corner(place))
    return sheet


def _split(path: Path, count: int) -> Tensor:
    """The first so many pictures of a file that `_join` made, in [0, 1], [N, 64, 64, 3]."""
    with Image.open(path) as sheet:
        tiles = [
            sheet.crop((x, y, x + IMAGE_SIZE, y + IMAGE_SIZE)).convert("RGB") for x, y in map(_corner, range(count))
        ]
    pixels = [torch.frombuffer(bytearray(tile.tobytes()), dtype=torch.uint8) for tile in tiles]
    return torch.stack(pixels).view(-1, IMAGE_SIZE, IMAGE_SIZE, 3).float() / 255


def _corner(place: int) -> tuple[int, int]:
    return place % ACROSS * IMAGE_SIZE, place // ACROSS * IMAGE_SIZE
