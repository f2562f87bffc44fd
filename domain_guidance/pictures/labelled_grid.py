"""Labelled grids of small pictures, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw
from torch import Tensor

from .font import font
from .pixels import as_picture

PAPER, INK, QUIET = (255, 255, 255), (24, 26, 32), (104, 110, 122)
GAP, MARGIN, LABEL_WIDTH, HEADER, TEXT, SMALL = 6, 18, 250, 30, 17, 14


@dataclass(frozen=True)
class Row:
    """One row of a grid: a title, smaller lines under it, and pictures [N, 3, H, W] in [-1, 1].

    examples: pictures of that kind under the lines, in their own size, which has to fit beside the row.
    """

    title: str
    lines: Sequence[str]
    images: Tensor
    examples: Sequence[Tensor] = ()


def labelled_grid(rows: Sequence[Row], columns: Sequence[str], cell: int = 96, footer: str = "") -> Image.Image:
    """Rows of pictures, each scaled up to `cell` pixels without smoothing, titles at the left, `columns` above."""
    if not rows or any(len(row.images) != len(columns) for row in rows):
        counts = ", ".join(str(len(row.images)) for row in rows) or "no rows"
        raise ValueError(f"The rows hold {counts} pictures and there are {len(columns)} columns: give as many of each.")
    width = 2 * MARGIN + LABEL_WIDTH + len(columns) * (cell + GAP)
    height = 2 * MARGIN + HEADER + len(rows) * (cell + GAP) + (HEADER if footer else 0)
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, label in enumerate(columns):
        centre = MARGIN + LABEL_WIDTH + column * (cell + GAP) + cell // 2
        draw.text((centre, MARGIN + HEADER // 2), label, QUIET, font(SMALL), anchor="mm")
    for index, row in enumerate(rows):
        _draw_row(canvas, draw, row, MARGIN + HEADER + index * (cell + GAP), cell)
    draw.text((MARGIN, height - MARGIN), footer, QUIET, font(SMALL), anchor="ls")
    return canvas


def to_picture(image: Tensor, size: int) -> Image.Image:
    """One picture [3, H, W] in [-1, 1] as an RGB image, `size` pixels wide and high, its pixels kept square."""
    return as_picture(image).resize((size, size), Image.Resampling.NEAREST)


def _draw_row(canvas: Image.Image, draw: ImageDraw.ImageDraw, row: Row, top: int, cell: int) -> None:
    draw.text((MARGIN, top + 4), row.title, INK, font(TEXT))
    for number, line in enumerate(row.lines):
        draw.text((MARGIN, top + 30 + 20 * number), line, QUIET, font(SMALL))
    below = 36 + 20 * len(row.lines)
    for number, image in enumerate(row.examples):
        side = image.shape[-1]
        if below + side > cell:
            raise ValueError(
                f"The row '{row.title}' is {cell} pixels high, and its examples of {side} pixels begin {below} pixels "
                "below its top: give higher cells, smaller examples or fewer lines."
            )
        canvas.paste(to_picture(image, side), (MARGIN + number * (side + GAP), top + below))
    for column, image in enumerate(row.images):
        canvas.paste(to_picture(image, cell), (MARGIN + LABEL_WIDTH + column * (cell + GAP), top))
