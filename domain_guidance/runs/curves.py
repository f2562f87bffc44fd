"""The loss curves of a run as a picture that can be read where a node shows it, about half as wide."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from ..pictures.font import font
from .run_log import read_log

PAPER, INK, QUIET = (255, 255, 255), (24, 26, 32), (206, 210, 218)
STEP_LOSS, TRAINING, HELD_OUT = (176, 190, 222), (38, 84, 200), (214, 92, 32)
STEP_LOSS_TITLE = (104, 122, 170)
LEFT, RIGHT, TOP, BOTTOM, TEXT = 116, 34, 52, 46, 24
THIN, THICK = 2, 5
WINDOWS = 20


def draw_curves(log: Path, width: int = 640, height: int = 480) -> Image.Image:
    """The curves of a run's log as a picture.

    They are the loss of every step, and beside it the loss on training and held-out images at fixed noise or, where
    nothing is measured, as in an adaptation, the mean of neighbouring steps.
    """
    curves = _curves(list(read_log(log)))
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    place = _axes(draw, [point for _, _, points in curves for point in points], width, height)
    x = 12.0
    for title, colour, points in curves:
        if len(points) > 1:
            draw.line(
                [place(*point) for point in points], colour, THIN if colour is STEP_LOSS else THICK, joint="curve"
            )
        draw.text((x, 8), title, STEP_LOSS_TITLE if colour is STEP_LOSS else colour, font(TEXT))
        x += draw.textlength(title, font(TEXT)) + TEXT
    return canvas


def _curves(lines: list[dict[str, Any]]) -> list[tuple[str, tuple[int, int, int], list[tuple[int, float]]]]:
    steps = [(line["step"], line["loss"]) for line in lines if line["event"] == "step"]
    measured = [line for line in lines if line["event"] == "evaluated"]
    if not measured:
        return [("each step", STEP_LOSS, steps), ("mean of neighbours", TRAINING, _smooth(steps))]
    train, held_out = ([(line["step"], line[side]) for line in measured] for side in ("train", "held_out"))
    return [
        ("each step", STEP_LOSS, steps),
        ("training images", TRAINING, train),
        ("held-out images", HELD_OUT, held_out),
    ]


def _smooth(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Means over windows of a twentieth of the points, each at its middle."""
    window = max(1, len(points) // WINDOWS)
    sums = list(itertools.accumulate((value for _, value in points), initial=0.0))
    return [
        (points[first + window // 2][0], (sums[first + window] - sums[first]) / window)
        for first in range(len(points) - window + 1)
    ]


def _axes(draw: ImageDraw.ImageDraw, points: list[tuple[int, float]], width: int, height: int):
    """Draw the axes; the function from step and loss to a place on the canvas. The losses' highest 1 % are cut off."""
    last = max((step for step, _ in points), default=1) or 1
    values = sorted(loss for _, loss in points) or [0.0, 1.0]
    low, high = values[0], values[min(len(values) - 1, int(0.99 * len(values)))]
    high = high if high > low else low + 1
    across, up = width - LEFT - RIGHT, height - TOP - BOTTOM

    def place(step: int, loss: float) -> tuple[float, float]:
        return LEFT + across * step / last, TOP + up * (1 - min(1.0, (loss - low) / (high - low)))

    for fraction in (0.0, 0.5, 1.0):
        loss, step = low + fraction * (high - low), round(fraction * last)
        draw.line([place(0, loss), place(last, loss)], QUIET, THIN)
        draw.text((LEFT - 10, place(0, loss)[1]), f"{loss:.3g}", INK, font(TEXT), anchor="rm")
        draw.text((place(step, low)[0], height - BOTTOM + 10), str(step), INK, font(TEXT), anchor="ma")
    return place
