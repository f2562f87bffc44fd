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

WIDTH, HEIGHT = 420, 270  # of a plot, in pixels; the last one is as wide as two
HEADER, LINE, MARGIN = 84, 30, 26
WRAP = 76  # characters
COLUMNS, CELL, GAP = 5, 144, 16  # of the pairs
WARN = COLOURS[2]


@dataclass(frozen=True)
class Pair:
    """An image, its nearest reference image, and how far they are apart."""

    image: Image.Image
    reference: Image.Image
    distance: float


def draw_measures(measures: Measures, pairs: Sequence[Pair], encoder: str) -> Image.Image:
    """840 pixels wide: plots, pairs, words.

    pairs: the closest first, at most 5 are drawn. encoder: what saw the images, by name.
    """
    pairs = pairs[:COLUMNS]
    words = [line for text in (*statements(measures), *warnings(measures)) for line in textwrap.wrap(text, WRAP)]
    below = HEADER + 2 * HEIGHT
    paired = 2 * CELL + 2 * GAP + 3 * LINE if pairs else 0
    canvas = Image.new("RGB", (2 * WIDTH, below + paired + len(words) * LINE + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    title = f"{measures.samples} images against {measures.references} of the reference"
    draw.text((MARGIN, 26), title, INK, font(TITLE + 4), anchor="lm")
    draw.text((MARGIN, 60), f"seen by {encoder}", QUIET, font(TEXT), anchor="lm")
    canvas.paste(draw_distance(measures, WIDTH, HEIGHT), (0, HEADER))
    canvas.paste(draw_nearest(measures, WIDTH, HEIGHT), (WIDTH, HEADER))
    canvas.paste(draw_shares(measures, 2 * WIDTH, HEIGHT), (0, HEADER + HEIGHT))
    _draw_pairs(canvas, draw, pairs, _threshold(measures), below)
    for number, line in enumerate(words):
        draw.text((MARGIN, below + paired + MARGIN + number * LINE), line, INK, font(TEXT))
    return canvas


def _draw_pairs(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, pairs: Sequence[Pair], threshold: float, top: int
) -> None:
    if not pairs:
        return
    draw.text((MARGIN, top + LINE / 2), "Closest pairs", INK, font(TITLE), anchor="lm")
    explained = "above the image, below its nearest reference image"
    draw.text((MARGIN, top + 3 * LINE / 2), explained, QUIET, font(TEXT), anchor="lm")
    for number, pair in enumerate(pairs):
        left, y = MARGIN + number * (CELL + GAP), top + 2 * LINE + GAP
        is_close = pair.distance <= threshold
        for picture in (pair.image, pair.reference):
            _place(canvas, picture, left, y)
            y += CELL + GAP // 2
        if is_close:
            draw.rectangle(
                [left - 4, top + 2 * LINE + GAP - 4, left + CELL + 3, y - GAP // 2 + 3], outline=WARN, width=5
            )
        text = f"{pair.distance:.3f}{', close' if is_close else ''}"
        draw.text((left + CELL / 2, y + 4), text, WARN if is_close else QUIET, font(TEXT), anchor="ma")


def _place(canvas: Image.Image, picture: Image.Image, left: int, top: int) -> None:
    small = fitted(picture, CELL, CELL)
    canvas.paste(small, (left + (CELL - small.width) // 2, top + (CELL - small.height) // 2))


def _threshold(measures: Measures) -> float:
    return measures.memorisation.threshold if measures.memorisation else -1.0
