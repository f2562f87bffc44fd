"""Pictures of several settings beside each other, with labelled axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from .font import font
from .labelled_grid import INK, PAPER, QUIET

LARGEST = 4096  # pixels, of either side of a grid
CELL = (144, 768)  # pixels, of a cell's longer side
GAP, EMPTY = 6, (240, 241, 244)
LARGEST_TEXT, LABELS = 110, 420  # pixels: of letters, and of what the labels of a large grid take at its left and top


def axes_grid(
    cells: Sequence[Sequence[Image.Image | None]], columns: Sequence[str], rows: Sequence[str], across: str, down: str
) -> Image.Image:
    """Rows of cells under a labelled axis each way; None is a cell that was not made.

    At most 4096 pixels wide and high.

    columns, rows: the cells' values as text; across, down: what they are values of. At least one cell is a picture.
    """
    width, height = _cell_size(
        next(cell for row in cells for cell in row if cell is not None).size, len(columns), len(rows)
    )
    text = _letters(width, height, len(columns), len(rows))
    left, top = text + GAP + max(int(font(text).getlength(label)) for label in rows) + 2 * GAP, 2 * (text + 2 * GAP)
    canvas = Image.new("RGB", (left + len(columns) * (width + GAP), top + len(rows) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, label in enumerate(columns):
        draw.text((left + number * (width + GAP) + width / 2, top - GAP), label, INK, font(text), anchor="ms")
    draw.text((left, GAP), across, QUIET, font(text))
    for row, label in enumerate(rows):
        y = top + row * (height + GAP)
        draw.text((left - 2 * GAP, y + height / 2), label, INK, font(text), anchor="rm")
        for column, cell in enumerate(cells[row]):
            _place(canvas, draw, cell, (left + column * (width + GAP), y), (width, height), text)
    _write_upwards(canvas, down, (GAP, top), text)
    return canvas


def mosaic(pictures: Sequence[Image.Image], gap: int | None = None) -> Image.Image:
    """Lay pictures of one size out as one, in rows that make it nearly a square.

    gap: pixels between them, about a sixty-fourth of a picture by default.
    """
    width, height = pictures[0].size
    gap, across = max(1, width // 64) if gap is None else gap, math.ceil(math.sqrt(len(pictures)))
    down = math.ceil(len(pictures) / across)
    canvas = Image.new("RGB", (across * (width + gap) - gap, down * (height + gap) - gap), PAPER)
    for number, picture in enumerate(pictures):
        canvas.paste(picture, (number % across * (width + gap), number // across * (height + gap)))
    return canvas


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """As large as fits; enlarged by whole pixels without smoothing, so that small pictures stay what they are."""
    scale = min(width / picture.width, height / picture.height)
    if scale >= 1:
        scale = int(scale)
    size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)


def _cell_size(size: tuple[int, int], columns: int, rows: int) -> tuple[int, int]:
    longer = max(size)
    room = min((LARGEST - LABELS) / columns - GAP, (LARGEST - LABELS) / rows - GAP, CELL[1])
    scale = min(max(1.0, round(CELL[0] / longer)), room / longer) if longer < CELL[0] else min(1.0, room / longer)
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def _letters(width: int, height: int, columns: int, rows: int) -> int:
    """The height of letters that can be read where a node shows the whole grid, and that fit above a cell."""
    return max(14, min(max(columns * width, rows * height) // 24, width // 3, LARGEST_TEXT))


def _place(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    cell: Image.Image | None,
    place: tuple[int, int],
    size: tuple[int, int],
    text: int,
) -> None:
    x, y = place
    if cell is None:
        draw.rectangle([x, y, x + size[0] - 1, y + size[1] - 1], EMPTY)
        draw.text((x + size[0] / 2, y + size[1] / 2), "not made", QUIET, font(max(12, text * 3 // 4)), anchor="mm")
        return
    canvas.paste(
        cell.resize(size, Image.Resampling.NEAREST if size[0] >= cell.width else Image.Resampling.LANCZOS), place
    )


def _write_upwards(canvas: Image.Image, label: str, place: tuple[int, int], text: int) -> None:
    """Text along the left edge, from bottom to top."""
    line = Image.new("RGB", (int(font(text).getlength(label)) + 2, text * 5 // 4 + 2), PAPER)
    ImageDraw.Draw(line).text((0, 0), label, QUIET, font(text))
    canvas.paste(line.rotate(90, expand=True), place)
