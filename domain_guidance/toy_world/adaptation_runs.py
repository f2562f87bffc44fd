"""The adaptations that docs/adaptation.md shows.

A sweep chooses the settings; the chosen ones are shown beside what else one could do.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from ..adaptation import AdaptationSettings, AdaptedPair
from ..distillation import Distillation, NoiseRange
from ..evaluation.scores import as_read
from ..generators import GeneratorFile
from ..pictures.labelled_grid import Row, labelled_grid
from .adaptation import GOALS, PICTURES, REFERENCE, Found, Way, adapt, measure, pictures
from .comparison import ToyModels
from .model import IMAGE_SIZE

logger = logging.getLogger(__name__)

SWEEP_SEED, SEEDS = 11, (0, 1, 2)  # of training
SWEEP_LATENTS, LATENTS = range(10_000, 10_000 + PICTURES), range(PICTURES)
SWEEP_REFERENCE, HELD_OUT = 31, 41  # seeds of the target's pictures
DIVERSE = 0.8  # of the source's diversity: what a choice must keep
COLUMNS = 12
NARROW, PAPER, WHOLE = NoiseRange(0.01, 0.3), NoiseRange(0.01, 0.5), NoiseRange(0.0, 1.0)


@dataclass(frozen=True)
class Shown:
    """A generator of the table, with its pictures [N, 3, 16, 16]."""

    goal: str
    name: str
    images: Tensor
    found: Found


def way(
    goal: str,
    strength: float,
    name: str = "",
    *,
    steps: int,
    rate: float = 1e-3,
    noise: NoiseRange = NARROW,
    **wishes: Any,
) -> Way:
    """One way of distilling.

    wishes: further settings of the distillation. They name the way where it has no name of its own.
    """
    said = [f"strength {strength:g}", *(f"{wish} {value}".replace("_", " ") for wish, value in wishes.items())]
    said += [f"range {noise.low:g} to {noise.high:g}"] if noise != NARROW else []
    distillation = Distillation(resolution=IMAGE_SIZE, noise=noise, **wishes)
    settings = AdaptationSettings(
        steps, learning_rate=rate, batch_size=8, distillation=distillation, checkpoint_every=50
    )
    return Way(goal, name or ", ".join(said), settings, strength)


def rival(goal: str, steps: int, name: str = "") -> Way:
    """One direction in the judge's features (`nada`), at the same rate and batch size."""
    settings = AdaptationSettings(
        steps, learning_rate=1e-3, batch_size=8, distillation=Distillation(resolution=IMAGE_SIZE)
    )
    return Way(goal, name or f"one direction, {steps} steps", settings)


PROMPT_STEPS, PLATE_STEPS = 60, 150
REGULARISERS: tuple[dict[str, Any], ...] = (
    {},
    {"directional": 0.5},
    {"directional": 1.0},
    {"reconstruction": 0.5},
    {"reconstruction": 1.0},
    {"directional": 0.5, "reconstruction": 0.5},
    *({"relative_distance": strength} for strength in (30.0, 300.0, 3000.0)),
    {"score": "likelihood"},
)
GRID = (
    *(way("prompt", 7.5, steps=PROMPT_STEPS, **wishes) for wishes in REGULARISERS),
    *(way("prompt", strength, steps=PROMPT_STEPS, directional=0.5) for strength in (25, 100)),
    way("prompt", 7.5, steps=PROMPT_STEPS, directional=0.5, noise=PAPER),
    *(way("plates", 2, steps=PLATE_STEPS, **wishes) for wishes in REGULARISERS),
    *(way("plates", strength, steps=PLATE_STEPS, reconstruction=0.5) for strength in (1, 4, 7.5, 25, 100)),
    way("plates", 2, steps=PLATE_STEPS, reconstruction=0.5, noise=PAPER),
    *(way("plates", strength, steps=PLATE_STEPS, reconstruction=1.0, noise=PAPER) for strength in (4, 7.5)),
    *(rival(goal, steps) for goal in ("prompt", "plates") for steps in (60, 150, 300)),
)


# The sweep's choices, what one would do without having read on, and the rival.
WAYS = (
    way("prompt", 7.5, "chosen", steps=PROMPT_STEPS, directional=1.0),
    way("prompt", 100, "naive", steps=300, noise=WHOLE),
    rival("prompt", 300, "one direction"),
    way("plates", 4, "chosen", steps=PLATE_STEPS, reconstruction=1.0, noise=PAPER),
    way("plates", 4, "chosen, twice as long", steps=2 * PLATE_STEPS, reconstruction=1.0, noise=PAPER),
    way("plates", 100, "naive", steps=300, noise=WHOLE),
    rival("plates", 300, "one direction"),
)


def sweep(models: ToyModels, source: GeneratorFile, folder: Path) -> dict[str, Way]:
    """Adapt and measure in every way of GRID, and choose for each goal the best distillation and the best rival.

    The one rule is `choose`. Whatever is measured is measured against `held_out`. Needs scikit-learn (the extra
    `demo`).
    """
    scored: dict[str, list[tuple[Way, Found]]] = {goal: [] for goal in GOALS}
    for each in GRID:
        pair = adapt(each, source, models, folder, SWEEP_SEED)
        before, after = pictures(pair, SWEEP_LATENTS)
        scored[each.goal].append((each, measure(after, before, GOALS[each.goal], models, SWEEP_REFERENCE)))
        logger.info("%s", describe(each.goal, each.name, scored[each.goal][-1][1]))
    chosen = {}
    for goal, found in scored.items():
        for kind, rivals in (("distilled", False), ("rival", True)):
            chosen[f"{goal}, {kind}"] = choose([entry for entry in found if (entry[0].strength is None) == rivals])
            logger.info("%s, %s: chosen %s", goal, kind, chosen[f"{goal}, {kind}"].name)
    return chosen


def choose(scored: Sequence[tuple[Way, Found]]) -> Way:
    """The way nearest to the target among those that keep DIVERSE of the source's diversity.

    Where none does, it is the most diverse.
    """
    diverse = [entry for entry in scored if entry[1].diversity >= DIVERSE]
    if not diverse:
        return max(scored, key=lambda entry: entry[1].diversity)[0]
    return min(diverse, key=lambda entry: entry[1].distance)[0]


def adaptations(models: ToyModels, source: GeneratorFile, folder: Path) -> list[Shown]:
    """The table: of each goal real pictures, the source, and every way of WAYS, on seeds that the sweep has not seen.

    What is found of a way is the mean over SEEDS of training; its pictures are the first one's.
    """
    shown = []
    before, _ = pictures(AdaptedPair(source, "cpu"), LATENTS)
    for goal in GOALS.values():
        real = goal.paint("held_out", len(LATENTS), torch.Generator().manual_seed(HELD_OUT + 1))
        rows = [("real pictures", [real]), ("source", [before])]
        for each in (each for each in WAYS if each.goal == goal.name):
            rows.append(
                (each.name, [pictures(adapt(each, source, models, folder, seed), LATENTS)[1] for seed in SEEDS])
            )
        for name, drawn in rows:
            found = [measure(images, before, goal, models, HELD_OUT) for images in drawn]
            shown.append(Shown(goal.name, name, drawn[0], mean_of(found)))
            logger.info(
                "%s (%s)",
                describe(goal.name, name, shown[-1].found),
                ", ".join(f"{as_read(each.distance)}" for each in found),
            )
    return shown


def mean_of(found: Sequence[Found]) -> Found:
    return Found(*(sum(values) / len(values) for values in zip(*map(astuple, found))))


def picture(shown: Sequence[Shown]) -> Image:
    """A row for each generator, the same seed down each column; real pictures are left out."""
    rows = [
        Row(f"{each.goal}: {each.name}", _lines(each.found), each.images[:COLUMNS])
        for each in shown
        if each.name != "real pictures"
    ]
    footer = (
        f"Distance: kernel distance to {REFERENCE} held-out pictures of the target. Diversity: share of the "
        f"source's. N = {PICTURES}."
    )
    return labelled_grid(rows, [f"seed {seed}" for seed in range(COLUMNS)], cell=72, footer=footer)


def describe(goal: str, name: str, found: Found) -> str:
    return (
        f"{goal} | {name} | distance {as_read(found.distance)} | in pixels {as_read(found.pixels)} | diversity "
        f"{found.diversity:.0%} | on target {found.reached:.0%} | digit kept {found.kept:.0%} | readable "
        f"{found.readable:.0%}"
    )


def _lines(found: Found) -> list[str]:
    return [
        f"distance {found.distance:.2f}, in pixels {found.pixels:.2f}",
        f"diversity {found.diversity:.0%}, digit kept {found.kept:.0%}",
    ]
