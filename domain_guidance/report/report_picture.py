"""A report as one picture: five plots over the steps, the result, and the advice in words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw

from ..pictures.axes_grid import fitted
from ..pictures.font import font
from ..pictures.labelled_grid import INK, PAPER, QUIET
from ..pictures.line_plot import SHADE, TEXT, Curve, Plot, draw_curve, draw_plot
from .advice import BAND, BURN_CONTRAST, BURN_PULL, Advice
from .term_measures import Step

WIDTH, HEIGHT = 420, 270  # of one plot, in pixels
HEADER, LINE, MARGIN = 44, 22, 18
WRAP = 180  # characters


def draw_report(
    steps: Sequence[Step], advice: Sequence[Advice], setting: str, picture: Image.Image | None = None
) -> Image.Image:
    """1260 pixels wide. setting: one line, such as weight and cfg. picture: of the result, or None.

    Without steps there are no plots.
    """
    words = [line for one in advice for line in textwrap.wrap(one.text, WRAP)]
    canvas = Image.new("RGB", (3 * WIDTH, HEADER + 2 * HEIGHT + len(words) * LINE + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((3 * WIDTH - MARGIN, HEADER / 2), setting, QUIET, font(TEXT), anchor="rm")
    if steps:
        _draw_legend(draw, len(steps[0].measured.terms))
        for number, plot in enumerate(plots(steps)):
            canvas.paste(draw_plot(plot, "step", WIDTH, HEIGHT), (number % 3 * WIDTH, HEADER + number // 3 * HEIGHT))
    _draw_result(canvas, draw, picture)
    for number, line in enumerate(words):
        draw.text((MARGIN, HEADER + 2 * HEIGHT + MARGIN + number * LINE), line, INK, font(TEXT + 1))
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
        Plot("Direction to the text", "cosine", cosines, -1.0, 1.0),
        Plot(
            "Unconditional's coefficient", "1 - cfg - weights", [coefficient], 1 - BURN_PULL, 1.0, (1 - BURN_PULL, 1.0)
        ),
        Plot("Contrast against the sources", "times", [contrast], 0.0, BURN_CONTRAST, (0.0, BURN_CONTRAST)),
    ]


def _ratio(norm: float, text: float) -> float:
    return norm / text if norm > 0 and text > 0 else math.nan


def _draw_legend(draw: ImageDraw.ImageDraw, terms: int) -> None:
    names = ["text term", *(["domain term"] if terms == 1 else [f"term {number}" for number in range(1, terms + 1)])]
    x = MARGIN
    for style, name in enumerate(names):
        draw_curve(draw, [(x, HEADER / 2), (x + 30, HEADER / 2)], style)
        draw.text((x + 40, HEADER / 2), name, INK, font(TEXT), anchor="lm")
        x += 62 + draw.textlength(name, font(TEXT))
    draw.rectangle([x, HEADER / 2 - 7, x + 20, HEADER / 2 + 7], SHADE, QUIET)
    draw.text((x + 28, HEADER / 2), "usual range", INK, font(TEXT), anchor="lm")


def _draw_result(canvas: Image.Image, draw: ImageDraw.ImageDraw, picture: Image.Image | None) -> None:
    left, top = 2 * WIDTH, HEADER + HEIGHT
    if picture is None:
        draw.text(
            (left + WIDTH / 2, top + HEIGHT / 2), "connect vae to see the picture here", QUIET, font(TEXT), anchor="mm"
        )
        return
    small = fitted(picture, WIDTH - 2 * MARGIN, HEIGHT - 3 * MARGIN)
    draw.text((left + MARGIN, top + 6), "Result", INK, font(TEXT + 2))
    canvas.paste(small, (left + (WIDTH - small.width) // 2, top + 30 + (HEIGHT - 48 - small.height) // 2))
