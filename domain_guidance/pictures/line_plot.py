"""A small line plot drawn with Pillow.

It has axes with units, a grid, and curves that are told apart by colour and by mark. Letters and lines are large, as
a node shows a picture at half its size or less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .font import font
from .labelled_grid import INK, PAPER, QUIET

GRID, SHADE = (226, 229, 234), (232, 240, 234)
# Okabe and Ito's colours, which colour-blind people tell apart; the marks tell curves apart without any colour.
COLOURS = ((24, 26, 32), (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233))
TITLE, TEXT = 24, 21
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 54, 58
MARGIN, LINE = 14, 4


@dataclass(frozen=True)
class Curve:
    """The points of one curve.

    x, y: of equal length; NaN is a gap. style: which of COLOURS and marks, 0 is the text term's.
    """

    x: Sequence[float]
    y: Sequence[float]
    style: int


@dataclass(frozen=True)
class Plot:
    """One plot: its title, its curves, and the y range that must be visible.

    band: y values to shade. logarithmic: of y.
    """

    title: str
    y_label: str
    curves: Sequence[Curve]
    low: float
    high: float
    band: tuple[float, float] | None = None
    logarithmic: bool = False


def draw_plot(plot: Plot, x_label: str, width: int, height: int) -> Image.Image:
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    values = [y for curve in plot.curves for y in curve.y if math.isfinite(y)]
    ticks = round_ticks(min([plot.low, *values]), max([plot.high, *values]), plot.logarithmic)
    last = max((x for curve in plot.curves for x in curve.x), default=1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - 1) / max(last - 1, 1)
        return LEFT + across * (width - LEFT - RIGHT), height - BOTTOM - _share(y, ticks, plot.logarithmic) * (
            height - TOP - BOTTOM
        )

    if plot.band is not None:
        (left, bottom), (right, top) = place(1, max(plot.band[0], ticks[0])), place(last, min(plot.band[1], ticks[-1]))
        draw.rectangle([left, top, right, bottom], SHADE)
    _draw_axes(draw, plot, ticks, int(last), x_label, place, width, height)
    for curve in plot.curves:
        draw_curve(draw, [place(x, y) if math.isfinite(y) else None for x, y in zip(curve.x, curve.y)], curve.style)
    return canvas


def draw_curve(draw: ImageDraw.ImageDraw, places: Sequence[tuple[float, float] | None], style: int) -> None:
    colour = COLOURS[style % len(COLOURS)]
    for start, end in zip(places, places[1:]):
        if start is not None and end is not None:
            draw.line([start, end], colour, LINE)
    for place in places:
        if place is not None:
            _draw_mark(draw, place, colour, style)


def _draw_mark(draw: ImageDraw.ImageDraw, place: tuple[float, float], colour: tuple[int, int, int], style: int) -> None:
    x, y = place
    if style % 3 == 0:
        draw.ellipse([x - 5, y - 5, x + 5, y + 5], colour)
    elif style % 3 == 1:
        draw.rectangle([x - 5, y - 5, x + 5, y + 5], colour)
    else:
        draw.polygon([(x, y - 8), (x - 6, y + 5), (x + 6, y + 5)], colour)


def _draw_axes(
    draw: ImageDraw.ImageDraw,
    plot: Plot,
    ticks: Sequence[float],
    last: int,
    x_label: str,
    place,
    width: int,
    height: int,
) -> None:
    draw.text((MARGIN, 2), plot.title, INK, font(TITLE))
    draw.text((LEFT, 3 + TITLE), plot.y_label, QUIET, font(TEXT))
    for tick in ticks:
        draw.line([place(1, tick), place(last, tick)], QUIET if tick == 0 else GRID, 2)
        draw.text((LEFT - 10, place(1, tick)[1]), f"{tick:g}", INK, font(TEXT), anchor="rm")
    for step in _whole_ticks(last):
        draw.text((place(step, ticks[0])[0], height - BOTTOM + 8), str(step), INK, font(TEXT), anchor="ma")
    draw.text(((LEFT + width - RIGHT) / 2, height - 9), x_label, QUIET, font(TEXT), anchor="ms")


def _share(y: float, ticks: Sequence[float], logarithmic: bool) -> float:
    low, high = ticks[0], ticks[-1]
    if logarithmic:
        low, high, y = math.log(low), math.log(high), math.log(max(y, low))
    return (y - low) / (high - low)


def round_ticks(low: float, high: float, logarithmic: bool = False) -> list[float]:
    """Round numbers that enclose both ends."""
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**power for power in range(first, max(last, first + 1) + 1)]
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * 0.999)


def _whole_ticks(last: int) -> list[int]:
    """Step numbers to write, at most 5, the first and the last among them."""
    stride = max(1, math.ceil((last - 1) / 4))
    return sorted({*range(1, last - stride // 2, stride), last})
