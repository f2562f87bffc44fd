"""The measures as one picture: three plots, the closest pairs, and the words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ..pictures.axes_grid import fitted
from ..pictures.font import font
from ..pictures.labelled_grid import INK, PAPER, QUIET
from ..pictures.line_plot import COLOURS, TEXT, TITLE
from .measures import Measures
from .panels import draw_distance, draw_nearest, draw_shares
from .words import statements, warnings

WIDTH, HEIGHT = 420, 250  # of one plot, in pixels
HEADER, LINE, MARGIN = 48, 23, 26
WRAP = 180  # characters
COLUMNS, CELL, GAP = 8, 138, 14  # of the pairs
WARN = COLOURS[2]


@dataclass(frozen=True)
class Pair:
    """An image, its nearest reference image, and how far they are apart."""

    image: Image.Image
    reference: Image.Image
    distance: float


def draw_measures(measures: Measures, pairs: Sequence[Pair], encoder: str) -> Image.Image:
    """1260 pixels wide. pairs: the closest first, at most 8 are drawn. encoder: what saw the images, by name."""
    pairs = pairs[:COLUMNS]
    words = [line for text in (*statements(measures), *warnings(measures)) for line in textwrap.wrap(text, WRAP)]
    below = HEADER + HEIGHT
    paired = 2 * CELL + 2 * GAP + 2 * LINE if pairs else 0
    canvas = Image.new("RGB", (3 * WIDTH, below + paired + len(words) * LINE + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text(
        (MARGIN, HEADER / 2),
        f"{measures.samples} images against {measures.references} of the reference",
        INK,
        font(TITLE + 4),
        anchor="lm",
    )
    draw.text((3 * WIDTH - MARGIN, HEADER / 2), f"seen by {encoder}", QUIET, font(TEXT), anchor="rm")
    for number, draw_panel in enumerate((draw_distance, draw_shares, draw_nearest)):
        canvas.paste(draw_panel(measures, WIDTH, HEIGHT), (number * WIDTH, HEADER))
    _draw_pairs(canvas, draw, pairs, _threshold(measures), below)
    for number, line in enumerate(words):
        draw.text((MARGIN, below + paired + MARGIN + number * LINE), line, INK, font(TEXT + 1))
    return canvas


def _draw_pairs(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, pairs: Sequence[Pair], threshold: float, top: int
) -> None:
    if not pairs:
        return
    draw.text((MARGIN, top + LINE / 2), "Closest pairs", INK, font(TITLE), anchor="lm")
    draw.text(
        (3 * WIDTH - MARGIN, top + LINE / 2),
        "above the image, below its nearest reference image",
        QUIET,
        font(TEXT),
        anchor="rm",
    )
    for number, pair in enumerate(pairs):
        left, y = MARGIN + number * (CELL + GAP), top + LINE + GAP
        is_close = pair.distance <= threshold
        for picture in (pair.image, pair.reference):
            _place(canvas, picture, left, y)
            y += CELL + GAP // 2
        if is_close:
            draw.rectangle([left - 4, top + LINE + GAP - 4, left + CELL + 3, y - GAP // 2 + 3], outline=WARN, width=3)
        text = f"{pair.distance:.3f}{', close' if is_close else ''}"
        draw.text((left + CELL / 2, y + 4), text, WARN if is_close else QUIET, font(TEXT), anchor="ma")


def _place(canvas: Image.Image, picture: Image.Image, left: int, top: int) -> None:
    small = fitted(picture, CELL, CELL)
    canvas.paste(small, (left + (CELL - small.width) // 2, top + (CELL - small.height) // 2))


def _threshold(measures: Measures) -> float:
    return measures.memorisation.threshold if measures.memorisation else -1.0
