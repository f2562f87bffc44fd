"""The results as one flat list of numbers, for the page of all benchmarks."""

from __future__ import annotations

from statistics import mean

from ..toy_world.methods import METHODS
from .plan import LARGEST
from .results import Results
from .tables import measured


def ratios(results: Results) -> dict[str, float]:
    """Digits as asked and distance on the largest domain, of every method and of the real plates.

    Means over the seeds.
    """
    real = results.found("measure", "real")
    found = {"real plates: digit as asked": real["digit"], "real plates: distance": real["distance"]}
    for name, method in METHODS.items():
        cells = measured(results, name, LARGEST)
        for measure, words in (("digit", "digit as asked"), ("distance", "distance")):
            found[f"{method.title}: {words}"] = mean(cell[measure] for cell in cells)
    return found
