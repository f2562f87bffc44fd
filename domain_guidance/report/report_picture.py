"""A report as one picture: five plots over the steps, the result, and the advice in words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw

from ..pictures.axes_grid import fitted
from ..pictures.font import font
from ..pictures.labelled_grid import INK, PAPER, QUIET
from ..pictures.line_plot import SHADE, TEXT, TITLE, Curve, Plot, draw_curve, draw_plot
from .advice import BAND, BURN_CONTRAST, BURN_PULL, Advice
from .term_measures import Step

WIDTH, HEIGHT, ACROSS = 420, 300, 2  # of one plot, in pixels; plots in a row
LEGEND, LINE, MARGIN = 82, 30, 18
WRAP = 78  # characters


def draw_report(
    steps: Sequence[Step], advice: Sequence[Advice], setting: str, picture: Image.Image | None = None
) -> Image.Image:
    """840 pixels wide: the advice, then two plots in a row.

    setting: one line, such as weight and cfg. picture: of the result, or None. Without steps there are no plots.
    """
    words = [(line, INK) for one in advice for line in textwrap.wrap(one.text, WRAP)]
    words += [(line, QUIET) for line in textwrap.wrap(setting, WRAP)]
    top = MARGIN + len(words) * LINE + LEGEND
    canvas = Image.new("RGB", (ACROSS * WIDTH, top + 3 * HEIGHT), PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, (line, colour) in enumerate(words):
        draw.text((MARGIN, MARGIN + number * LINE), line, colour, font(TEXT))
    if steps:
        _draw_legend(draw, len(steps[0].measured.terms), top - LEGEND + 20)
        for number, plot in enumerate(plots(steps)):
            place = (number % ACROSS * WIDTH, top + number // ACROSS * HEIGHT)
            canvas.paste(draw_plot(plot, "step", WIDTH, HEIGHT), place)
    _draw_result(canvas, draw, picture, (WIDTH, top + 2 * HEIGHT))
    return canvas


def plots(steps: Sequence[Step]) -> list[Plot]:
    """Five plots; curves of style 0 are the text's or the whole's, the terms' begin at 1."""
    numbers = [step.number for step in steps]
    measured = [step.measured for step in steps]
    by_term = list(enumerate(zip(*(one.terms for one in measured)), 1))
    norms = [Curve(numbers, [one.text for one in measured], 0)] + [
        Curve(numbers, [t.norm for t in terms], style) for style, terms in by_term
    ]
    ratios = [
        Curve(numbers, [_ratio(term.norm, one.text) for term, one in zip(terms, measured)], style)
        for style, terms in by_term
    ]
    cosines = [
        Curve(numbers, [term.cosine if term.norm else math.nan for term in terms], style) for style, terms in by_term
    ]
    coefficient = Curve(numbers, [one.coefficient for one in measured], 0)
    contrast = Curve(numbers, [one.contrast for one in measured], 0)
    return [
        Plot("Length of the terms", "latent units", norms, 0.0, 1e-3),
        Plot("Domain over text", "times", ratios, 0.1, 10.0, BAND, logarithmic=True),
        Plot("Direction relative to the text", "cosine", cosines, -1.0, 1.0),
        Plot(
            "Coefficient of the unconditional",
            "1 - cfg - weights",
            [coefficient],
            1 - BURN_PULL,
            1.0,
            (1 - BURN_PULL, 1.0),
        ),
        Plot("Contrast relative to the sources", "times", [contrast], 0.0, BURN_CONTRAST, (0.0, BURN_CONTRAST)),
    ]


def _ratio(norm: float, text: float) -> float:
    return norm / text if norm > 0 and text > 0 else math.nan


def _draw_legend(draw: ImageDraw.ImageDraw, terms: int, y: float) -> None:
    names = ["text term", *(["domain term"] if terms == 1 else [f"term {number}" for number in range(1, terms + 1)])]
    x = MARGIN
    for style, name in enumerate(names):
        draw_curve(draw, [(x, y), (x + 36, y)], style)
        draw.text((x + 46, y), name, INK, font(TEXT), anchor="lm")
        x += 70 + draw.textlength(name, font(TEXT))
    draw.rectangle([MARGIN, y + LINE - 10, MARGIN + 28, y + LINE + 10], SHADE, QUIET)
    draw.text((MARGIN + 46, y + LINE), "usual range", INK, font(TEXT), anchor="lm")


def _draw_result(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, picture: Image.Image | None, place: tuple[int, int]
) -> None:
    left, top = place
    if picture is None:
        middle = (left + WIDTH / 2, top + HEIGHT / 2)
        draw.text(middle, "connect vae to see\nthe picture here", QUIET, font(TEXT), anchor="mm", align="center")
        return
    small = fitted(picture, WIDTH - 2 * MARGIN, HEIGHT - 3 * MARGIN)
    draw.text((left + MARGIN, top + 2), "Result", INK, font(TITLE))
    canvas.paste(small, (left + (WIDTH - small.width) // 2, top + 36 + (HEIGHT - 54 - small.height) // 2))
