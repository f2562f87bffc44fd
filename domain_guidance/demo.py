"""What the pack does, and how its methods compare: `python -m domain_guidance.demo --out demo.png`.

The picture is of the emoji world; beside it, `demo-methods.png` compares the methods on the toy world's digits.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from .diffusion.denoiser import Denoiser
from .emoji_world.first_look import first_look
from .evaluation.scores import as_read
from .pictures.labelled_grid import Row, labelled_grid
from .toy_world import comparison
from .toy_world.methods import METHODS
from .toy_world.prompts import Prompts
from .toy_world.scenes import STROKES

logger = logging.getLogger(__name__)

SEED = 2023
REPEATS = 1
REFERENCE = 1000  # held-out domain pictures that distances are measured to
COLUMNS = 10
SAY_EVERY = 5.0  # seconds between lines while one row is drawn
TITLES = {
    "real": "real, from the domain",
    "base": "base",
    "fine-tune": "fine-tuned base",
    "DoG": "DoG",
    "decoupled": "decoupled guidance",
    "side network": "side network",
}


@dataclass(frozen=True)
class Entry:
    """One row of the demo: a method at its weights, its pictures [N, 3, 16, 16] and what the judge says of them."""

    name: str
    weights: Mapping[str, float]
    images: Tensor
    score: comparison.Score


def compare(repeats: int = REPEATS, seed: int = SEED) -> tuple[list[Entry], Prompts]:
    """Draw every prompt `repeats` times with every method, from the same noise, and judge the pictures."""
    models, asked = comparison.load_models(), comparison.every_prompt(repeats)
    reference = comparison.held_out_domain(REFERENCE).images
    entries = [_real_entry(models, asked, reference)]
    logger.info("%s", describe(entries[0]))
    for name, chosen, denoiser in _guided(models):
        images = comparison.sample(models, _counting(denoiser, TITLES[name]), asked, seed)
        entries.append(Entry(name, chosen, images, comparison.score(models, images, asked, reference)))
        logger.info("%s", describe(entries[-1]))
    return entries, asked


def _guided(models: comparison.ToyModels) -> Iterator[tuple[str, Mapping[str, float], Denoiser[Tensor]]]:
    """Every method with its weights."""
    for name, chosen in comparison.BEST.items():
        yield name, chosen, METHODS[name].build(models, **chosen)


def _counting(denoiser: Denoiser[Tensor], title: str) -> Denoiser[Tensor]:
    """The denoiser, which says at which step it is whenever some seconds have passed."""
    said, steps = time.monotonic(), 0

    def counted(x: Tensor, sigma: Tensor, asked: Tensor) -> Tensor:
        nonlocal said, steps
        steps += 1
        if time.monotonic() - said >= SAY_EVERY:
            said = time.monotonic()
            logger.info("  drawing: %s, step %d of %d", title, steps, comparison.STEPS)
        return denoiser(x, sigma, asked)

    return counted


def describe(entry: Entry) -> str:
    """One line: digit and colour as asked in percent, distance with N."""
    score, settings = entry.score, ", ".join(f"{key} {value:g}" for key, value in entry.weights.items())
    return (
        f"{TITLES[entry.name]:22} {settings:18} digit {score.digit:6.1%}  colour {score.stroke:6.1%}  "
        f"distance {as_read(score.distance)} (N={score.count})"
    )


def picture(entries: list[Entry], asked: Prompts) -> Image:
    """The demo's picture: one row per method, the same prompts and noise down each column."""
    # Every digit once and every colour twice: the prompts run through five colours for each digit.
    shown = torch.arange(COLUMNS) * 5 + torch.arange(COLUMNS) % 5
    colours = [list(STROKES)[index] for index in asked.stroke[shown].tolist()]
    columns = [f"{colour} {digit}" for colour, digit in zip(colours, asked.digit[shown].tolist())]
    rows = [Row(TITLES[entry.name], _lines(entry), entry.images[shown]) for entry in entries]
    return labelled_grid(
        rows,
        columns,
        footer=f"Same prompts and noise in each column. Distance: kernel distance to {REFERENCE} held-out pictures "
        "of the domain; the first row is its floor.",
    )


def as_json(entries: list[Entry]) -> list[dict]:
    return [{"method": entry.name, "weights": dict(entry.weights), **asdict(entry.score)} for entry in entries]


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    started = time.monotonic()
    # Networks this small gain little from a second thread, and on a busy machine threads wait for each other.
    torch.set_num_threads(1)
    first_look().save(options.out)
    logger.info("%s written after %.0f seconds; now the methods, on a world of digits", options.out, _since(started))
    entries, asked = compare(options.repeats)
    methods = options.out.with_stem(f"{options.out.stem}-methods")
    picture(entries, asked).save(methods)
    if options.json:
        options.json.write_text(json.dumps(as_json(entries), indent=2) + "\n")
    logger.info("%s written after %.0f seconds", methods, _since(started))
    logger.info("The distance is 0 for pictures like the domain's own. More methods: docs/evidence.md")


def _since(started: float) -> float:
    return time.monotonic() - started


def _real_entry(models: comparison.ToyModels, asked: Prompts, reference: Tensor) -> Entry:
    """Real pictures of the domain: the judge's own errors, and the distance of the domain to itself."""
    images = comparison.held_out_as_asked(asked)
    return Entry("real", {}, images, comparison.score(models, images, asked, reference))


def _lines(entry: Entry) -> list[str]:
    settings = ", ".join(f"{key} {value:g}" for key, value in entry.weights.items())
    read = f"digit {entry.score.digit:.0%}, colour {entry.score.stroke:.0%}"
    return [
        line for line in (settings, read, f"distance {as_read(entry.score.distance)}, N = {entry.score.count}") if line
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m domain_guidance.demo", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("demo.png"), help="the picture to write; one of the methods is written beside"
    )
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help="pictures per prompt and method; there are 50 prompts"
    )
    return parser


if __name__ == "__main__":
    main()
