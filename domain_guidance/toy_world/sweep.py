"""Each method at several weights, on other noise than the demo's: what `comparison.BEST` was chosen from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from operator import attrgetter
from typing import Any, Protocol

from ..evaluation.scores import as_read
from .comparison import Score, ToyModels, every_prompt, held_out_domain, sample, score
from .methods import METHODS, Weights

logger = logging.getLogger(__name__)

SEED = 90210
REPEATS = 2
CFGS = (1.5, 2.0, 3.0, 4.0, 6.0)
GRID: Mapping[str, Sequence[Weights]] = {
    "base": [{"cfg": cfg} for cfg in CFGS],
    "fine-tune": [{"cfg": cfg} for cfg in CFGS],
    "DoG": [{"cfg": cfg} for cfg in CFGS],
    "decoupled": [{"cfg": cfg, "weight": weight} for cfg, weight in product((2.0, 3.0, 4.0, 6.0), (1.0, 1.5, 2.0))],
}
IN_DOMAIN = 0.1  # of the base's distance


class Distant(Protocol):
    """A score with the distance to the domain."""

    @property
    def distance(self) -> float: ...


def sweep(models: ToyModels) -> dict[str, Weights]:
    """Score the whole grid and choose each method's weights by one rule, `choose`."""
    asked, reference = every_prompt(REPEATS), held_out_domain(1000).images
    chosen, limit = {}, float("inf")
    for name, settings in GRID.items():
        scored = []
        for weights in settings:
            images = sample(models, METHODS[name].build(models, **weights), asked, SEED)
            scored.append((weights, score(models, images, asked, reference)))
            logger.info("%s", describe(name, *scored[-1]))
        chosen[name] = choose(scored, limit)
        logger.info("%s: chosen %s", name, dict(chosen[name]))
        if name == "base":
            limit = IN_DOMAIN * min(found.distance for _, found in scored)
    return chosen


def choose(
    scored: Sequence[tuple[Weights, Distant]], limit: float, right: Callable[[Any], float] = attrgetter("digit")
) -> Weights:
    """The weights with most digits as asked among those within `limit` of the domain; else those nearest to it.

    Of equals, the nearer to the domain. One rule for all methods; for the base, which is never in the domain, no limit.
    right: the share that is as asked, of a score.
    """
    inside = [entry for entry in scored if entry[1].distance <= limit]
    if not inside:
        return min(scored, key=lambda entry: entry[1].distance)[0]
    return max(inside, key=lambda entry: (right(entry[1]), -entry[1].distance))[0]


def describe(name: str, weights: Weights, found: Score) -> str:
    wish = ", ".join(f"{key} {value:g}" for key, value in weights.items())
    return f"{name:10} {wish:18} digit {found.digit:.0%}  colour {found.stroke:.0%}  distance {as_read(found.distance)}"
