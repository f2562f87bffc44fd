"""Plots as a node shows them, about 300 to 400 pixels wide: letters that can be read, and no label cut off."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from domain_guidance.evaluation import Pair, draw_measures, measure
from domain_guidance.pictures.axes_grid import axes_grid
from domain_guidance.report import Measured, Step, TermMeasure, advise, draw_report
from domain_guidance.runs.curves import draw_curves

READABLE = 9.5  # pixels, of letters from the foot of a g to the head of an l
PREVIEW, LARGE_PREVIEW = 320, 400  # pixels, of the templates' nodes for plots, and for reports


def curves(tmp_path, low=0.02, high=0.1, steps=5000):
    lines = [{"event": "step", "step": step, "loss": low + (high - low) / step} for step in range(1, steps + 1)]
    lines += [{"event": "evaluated", "step": step, "train": low, "held_out": high} for step in (1, steps)]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return draw_curves(log)


def report(terms=3, count=50):
    term = TermMeasure(weight=6.0, unit=200.0, cosine=-0.4, share=0.5)
    measured = Measured(text=1000.0, terms=(term,) * terms, coefficient=-12.25, contrast=7.5)
    steps = [Step(number, 1 - number / count, measured) for number in range(1, count + 1)]
    setting = (
        "weight 6, -1, 2.25, cfg 4, batch of 8; held terms had moved by 12% of their length on average, 45% at most"
    )
    return draw_report(steps, advise(steps, [6.0] * terms, 4.0), setting, Image.new("RGB", (512, 768)))


def evaluation():
    generator = torch.Generator().manual_seed(0)
    measures = measure(torch.randn(64, 6, generator=generator), torch.randn(80, 6, generator=generator) + 0.4)
    square = Image.new("RGB", (64, 64))
    return draw_measures(measures, [Pair(square, square, 0.1234)] * 8, "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors")


def sweep(columns, side=16):
    cells = [[Image.new("RGB", (side, side))] * columns] * 3
    return axes_grid(
        cells, [f"{1 + n / 4:g}" for n in range(columns)], ["1", "4", "7.5"], "factor on every weight", "cfg"
    )


PICTURES = {
    "curves": (curves, PREVIEW),
    "curves of small losses": (lambda path: curves(path, 1.23e-5, 4.56e-5, 90), PREVIEW),
    "report": (lambda path: report(), LARGE_PREVIEW),
    "report of one step": (lambda path: report(1, 1), LARGE_PREVIEW),
    "evaluation": (lambda path: evaluation(), LARGE_PREVIEW),
    "sweep of 3": (lambda path: sweep(3), PREVIEW),
    "sweep of 7": (lambda path: sweep(7), PREVIEW),
    "sweep of 5 large pictures": (lambda path: sweep(5, 512), PREVIEW),
}


@pytest.fixture(params=PICTURES)
def drawn(request, tmp_path, monkeypatch):
    """A picture, how wide its node is, and the sizes of letters that it was drawn with."""
    draw, wide = PICTURES[request.param]
    sizes, load = [], ImageFont.load_default

    def recorded(size=None):
        sizes.append(size)
        return load(size)

    monkeypatch.setattr(ImageFont, "load_default", recorded)
    return draw(tmp_path), wide, sizes


def test_the_smallest_letters_can_be_read_where_a_node_shows_the_picture(drawn):
    picture, wide, sizes = drawn
    assert min(sizes) * wide / picture.width >= READABLE


def test_nothing_is_cut_off_at_an_edge(drawn):
    picture, _, _ = drawn
    pixels = np.asarray(picture)
    for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert math.prod(np.unique(edge.reshape(-1, 3), axis=0).shape) == 3, "one colour, that of the card"
