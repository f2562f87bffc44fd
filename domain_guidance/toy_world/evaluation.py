"""How good a freshly trained domain is: the demo's prompts, noise and judge, beside the base and the shipped domain."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from ..diffusers_host.denoiser import DiffusersDenoiser
from ..diffusers_host.trained_file import load_trained
from ..evaluation.scores import as_read
from ..pictures.labelled_grid import Row, labelled_grid
from . import checkpoints
from .comparison import BEST, Score, ToyModels, held_out_as_asked, held_out_domain, sample, score
from .methods import METHODS
from .prompts import Prompts
from .scenes import STROKES

logger = logging.getLogger(__name__)

SEED = 2023  # the demo's; settings were chosen on others
REFERENCE = 1000  # held-out domain pictures that distances are measured to
COLUMNS = 10


@dataclass(frozen=True)
class Judged:
    """Pictures [N, 3, 16, 16] of one domain, or of none, and what the judge says of them."""

    name: str
    images: Tensor
    score: Score


def evaluate(models: ToyModels, files: Sequence[Path], asked: Prompts, seed: int = SEED) -> list[Judged]:
    """Draw every prompt from the same noise with the base, the shipped domain and the domain of each file.

    Real pictures come first. All domains act through decoupled guidance at the weights of the demo.
    """
    reference, found = held_out_domain(REFERENCE).images, []
    for name, images in _drawn(models, files, asked, seed):
        found.append(Judged(name, images, score(models, images, asked, reference)))
        logger.info("%s", describe(found[-1]))
    return found


def describe(judged: Judged) -> str:
    """One line: digit and colour as asked in percent, distance to the held-out domain, N."""
    found = judged.score
    return (
        f"{judged.name:24} digit {found.digit:6.1%}  colour {found.stroke:6.1%}  distance {as_read(found.distance)} "
        f"(N={found.count})"
    )


def picture(found: Sequence[Judged], asked: Prompts) -> Image:
    """One row of pictures each, the same prompt and noise down each column."""
    places, strokes = shown(COLUMNS), list(STROKES)
    columns = [
        f"{strokes[stroke]} {digit}"
        for stroke, digit in zip(asked.stroke[places].tolist(), asked.digit[places].tolist())
    ]
    rows = [Row(judged.name, _lines(judged.score), judged.images[places]) for judged in found]
    return labelled_grid(
        rows,
        columns,
        footer=f"Distance: kernel distance to {REFERENCE} held-out pictures of the domain; the first row is its floor.",
    )


def shown(columns: int) -> Tensor:
    """Places in `every_prompt` of what a picture shows: the next digit in the next colour in each column."""
    return torch.arange(columns) * 5 + torch.arange(columns) % 5


def with_domain(models: ToyModels, file: Path) -> ToyModels:
    """The same world with the domain of a trained file, domain file or adapter."""
    unet, _ = checkpoints.load_base()
    load_trained(file, unet)
    return replace(models, domain=DiffusersDenoiser(unet, models.schedule))


def _drawn(models: ToyModels, files: Sequence[Path], asked: Prompts, seed: int):
    decoupled = METHODS["decoupled"]
    yield "real, from the domain", held_out_as_asked(asked)
    yield "base", sample(models, METHODS["base"].build(models, **BEST["base"]), asked, seed)
    yield "shipped domain", sample(models, decoupled.build(models, **BEST["decoupled"]), asked, seed)
    for file in files:
        world = with_domain(models, file)
        yield file.name, sample(world, decoupled.build(world, **BEST["decoupled"]), asked, seed)


def _lines(found: Score) -> list[str]:
    return [
        f"digit {found.digit:.0%}, colour {found.stroke:.0%}",
        f"distance {as_read(found.distance)}, N = {found.count}",
    ]
