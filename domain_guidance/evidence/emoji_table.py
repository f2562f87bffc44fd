"""The table of a domain of the emoji world: a pure function of the JSON that `benchmarks/emoji_world.py` writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

from .emoji import COMPARED
from .tables import markdown, percent, spread, times

MEASURES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "thing": ("thing as asked", percent),
    "hand": ("in the domain's hand", percent),
    "ratio": ("distance, of the base's", times),
    "nearest": ("the right one is nearest", percent),
    "error": ("distance to the right one", times),
}


def table(results: Mapping[str, Any], hand: str) -> str:
    """One row for each method at its chosen weights: mean and standard deviation over the trainings.

    Raises KeyError for a domain that has not been measured.
    """
    base = mean(entry["distance"] for entry in measured(results, hand, "base"))
    rows = []
    for name, method in COMPARED.items():
        found = [{**entry, "ratio": max(entry["distance"], 0) / base} for entry in measured(results, hand, name)]
        cells = [spread([entry[measure] for entry in found], write) for measure, (_, write) in MEASURES.items()]
        rows.append([method.title, results["chosen"][f"{hand}/{name}"], *cells])
    return markdown(["method", "weights", *(title for title, _ in MEASURES.values())], rows)


def about(results: Mapping[str, Any]) -> str:
    """One sentence on what was run, where and how long, one thing after another."""
    minutes = results["seconds"] / 60
    commit = f", commit {results['commit']}" if results["commit"] else ""
    return (
        f"{len(results['seeds'])} trainings of each, mean ± standard deviation; {minutes:.0f} minutes "
        f"({results['machine']}{commit})."
    )


def measured(results: Mapping[str, Any], hand: str, method: str) -> Sequence[Mapping[str, float]]:
    """A method's scores, one for each training; the base, which is trained once, has one."""
    key = f"{hand}/measured/{method}/{results['chosen'][f'{hand}/{method}']}"
    seeds = results["seeds"] if COMPARED[method].needs else results["seeds"][:1]
    return [results["found"][f"{key}/{seed}"] for seed in seeds]
