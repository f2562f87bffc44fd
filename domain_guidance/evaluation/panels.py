"""The three plots of a report: the distance with its interval, shares as bars, and how near the nearest images are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..pictures.font import font
from ..pictures.labelled_grid import INK, PAPER, QUIET
from ..pictures.line_plot import COLOURS, GRID, SHADE, TEXT, TITLE, round_ticks
from .measures import Measures

LEFT, RIGHT, TOP, BOTTOM = 34, 34, 58, 42
IMAGES, REFERENCE, WARN = COLOURS[1], (176, 182, 192), COLOURS[2]
BAR, LABELS, BINS = 34, 110, 24

Place = Callable[[float], float]


def draw_distance(measures: Measures, width: int, height: int) -> Image.Image:
    """The kernel distance, and its interval where it has one, over what two halves of the reference show."""
    kid, halves = measures.kid, measures.halves or 0.0
    ends = [] if kid.low is None else [kid.low, kid.high]
    note = "shaded: halves of the reference" if halves else "0 is none"
    ticks = round_ticks(min(0.0, -halves, kid.value, *ends), max(halves, kid.value, *ends, 1e-6))
    canvas, draw, place = _panel("Distance to the reference (KID)", note, ticks, width, height, LEFT)
    middle = (TOP + height - BOTTOM) / 2
    if halves:
        draw.rectangle([place(-halves), TOP + 28, place(halves), height - BOTTOM - 1], SHADE)
    _draw_ticks(draw, ticks, place, height, f"{{:{_decimals(ticks)}}}".format)
    draw.line([(place(end), middle + 30) for end in ends], IMAGES, 5)
    for end in ends:
        draw.line([(place(end), middle + 20), (place(end), middle + 40)], IMAGES, 5)
    x = place(kid.value)
    draw.ellipse([x - 7, middle + 23, x + 7, middle + 37], IMAGES)
    draw.text((_inside(x, width), middle + 12), f"{kid.value:.3g}", INK, font(TITLE + 4), anchor="ms")
    return canvas


def draw_shares(measures: Measures, width: int, height: int) -> Image.Image:
    """Precision, recall, and the diversity as a share of the reference's."""
    found = measures.precision_recall
    diversity = measures.diversity / measures.reference_diversity if measures.reference_diversity else None
    bars = [("Precision", found and found.precision), ("Recall", found and found.recall), ("Diversity", diversity)]
    largest = max(value for _, value in (*bars, ("", 1.0)) if value is not None)
    ticks = [number / 4 for number in range(ceil(4 * largest) + 1)] if largest < 2 else round_ticks(0.0, largest)
    canvas, draw, place = _panel("Likeness and variety", "100%: as the reference", ticks, width, height, LEFT + LABELS)
    _draw_ticks(draw, ticks, place, height, "{:.0%}".format)
    for number, (name, value) in enumerate(bars):
        y = TOP + 8 + number * (BAR + 18)
        draw.text((LEFT, y + BAR / 2), name, INK, font(TEXT), anchor="lm")
        if value is None:
            draw.text((place(0.0) + 8, y + BAR / 2), "too few images", QUIET, font(TEXT), anchor="lm")
            continue
        draw.rectangle([place(0.0), y, place(1.0), y + BAR], (240, 241, 244))
        draw.rectangle([place(0.0), y, max(place(value), place(0.0) + 1), y + BAR], IMAGES)
        _write_value(draw, f"{value:.0%}", place(value), place(0.0), y + BAR / 2)
    return canvas


def draw_nearest(measures: Measures, width: int, height: int) -> Image.Image:
    """Draw histograms of the distance to the nearest reference image: of the images and of the reference itself."""
    both = torch.cat((measures.nearest.distance, measures.reference_nearest)).cpu()
    ticks = round_ticks(0.0, max(both.max().item(), 1e-6))
    canvas, draw, place = _panel("Distance to nearest reference", "", ticks, width, height, LEFT)
    reference, images = (
        _histogram(values, ticks[-1]) for values in (measures.reference_nearest, measures.nearest.distance)
    )
    highest = max(*reference, *images)
    floor, room = height - BOTTOM, height - TOP - BOTTOM - 28
    edges = [place(number / BINS * ticks[-1]) for number in range(BINS + 1)]
    for number, share in enumerate(reference):
        if share:
            draw.rectangle([edges[number], floor - room * share / highest, edges[number + 1] - 1, floor], REFERENCE)
    _draw_outline(draw, edges, [floor - room * share / highest for share in images], floor)
    _draw_ticks(draw, ticks, place, height, f"{{:{_decimals(ticks)}}}".format, lines=False)
    if measures.memorisation is not None:
        x = place(measures.memorisation.threshold)
        draw.line([(x, TOP + 8), (x, floor)], WARN, 4)
        draw.text((x + 8, TOP + 4), "close", WARN, font(TEXT), anchor="la")
    _draw_legend(draw)
    return canvas


def _panel(
    title: str, note: str, ticks: Sequence[float], width: int, height: int, left: int
) -> tuple[Image.Image, ImageDraw.ImageDraw, Place]:
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((LEFT, 2), title, INK, font(TITLE))
    draw.text((LEFT, 4 + TITLE), note, QUIET, font(TEXT))

    def place(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (width - RIGHT - left)

    return canvas, draw, place


def _draw_ticks(
    draw: ImageDraw.ImageDraw,
    ticks: Sequence[float],
    place: Place,
    height: int,
    label: Callable[[float], str],
    lines: bool = True,
) -> None:
    draw.line([(place(ticks[0]), height - BOTTOM), (place(ticks[-1]), height - BOTTOM)], QUIET, 2)
    for tick in ticks:
        if lines:
            draw.line([(place(tick), TOP + 8), (place(tick), height - BOTTOM)], QUIET if tick == 0 else GRID, 2)
        draw.text((place(tick), height - BOTTOM + 6), label(tick), INK, font(TEXT), anchor="ma")


def _draw_outline(draw: ImageDraw.ImageDraw, edges: Sequence[float], tops: Sequence[float], floor: float) -> None:
    corners = [(edges[0], floor)]
    for left, right, top in zip(edges, edges[1:], tops):
        corners += [(left, top), (right, top)]
    draw.line([*corners, (edges[-1], floor)], IMAGES, 4)


def _draw_legend(draw: ImageDraw.ImageDraw) -> None:
    x, y = LEFT, 4 + TITLE + TEXT / 2
    for name, colour in (("images", IMAGES), ("reference images", REFERENCE)):
        draw.rectangle([x, y - 8, x + 20, y + 8], colour)
        draw.text((x + 28, y), name, INK, font(TEXT), anchor="lm")
        x += 52 + draw.textlength(name, font(TEXT))


def _write_value(draw: ImageDraw.ImageDraw, text: str, end: float, start: float, y: float) -> None:
    """Inside the bar where it fits, else right of it."""
    if end - start > draw.textlength(text, font(TEXT)) + 16:
        draw.text((end - 8, y), text, PAPER, font(TEXT), anchor="rm")
    else:
        draw.text((end + 8, y), text, INK, font(TEXT), anchor="lm")


def _histogram(values: Tensor, last: float) -> list[float]:
    """The share of the values in each of BINS bins from 0 to `last`."""
    counts = torch.histc(values.double().cpu(), BINS, 0.0, last)
    return (counts / len(values)).tolist()


def _inside(x: float, width: int) -> float:
    return min(max(x, LEFT + 30), width - RIGHT - 30)


def _decimals(ticks: Sequence[float]) -> str:
    """A format that tells neighbouring ticks apart."""
    return f".{max(len(f'{tick:.10g}'.partition('.')[2]) for tick in ticks)}f"
