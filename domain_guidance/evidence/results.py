"""The results of all jobs in one JSON file, which is whole after every job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..files.atomic_file import replacing
from ..toy_world.comparison import Score
from ..toy_world.methods import Weights
from ..toy_world.sweep import IN_DOMAIN, choose
from .plan import Plan

Entry = dict[str, Any]


class NotDone(LookupError):
    """The results of a job were asked for that is still to be done."""


@dataclass
class Results:
    """What the jobs of a plan have found so far.

    plan: what was asked for. machines: the machines and commits that were run, in words. jobs: by key, what each found,
    its seconds by the clock and its machine's place.
    """

    plan: Entry
    machines: list[Entry]
    jobs: dict[str, Entry]

    def chosen(self, method: str, size: int) -> Weights:
        """The method's best weights of its search, by the rule of `sweep.choose`; the base's distance is its limit."""
        base = scored(self.found("search", "base"))
        if method == "base":
            return choose(base, float("inf"))
        limit = IN_DOMAIN * min(score.distance for _, score in base)
        return choose(scored(self.found("search", size, method)), limit)

    def found(self, *key: object) -> Entry:
        """What a job found, by the parts of its key. Raises NotDone where it is still to be done."""
        name = "/".join(map(str, key))
        if name not in self.jobs:
            raise NotDone(f"The job '{name}' is still to be done: run the benchmark on to its end.")
        return self.jobs[name]


def scored(entry: Entry) -> list[tuple[Weights, Score]]:
    """A search's weights with their scores."""
    return [
        (row["weights"], Score(row["digit"], row["colour"], row["distance"], row["count"])) for row in entry["grid"]
    ]


def read_results(file: Path) -> Results:
    return Results(**json.loads(file.read_text(encoding="utf-8")))


def open_results(file: Path, plan: Plan) -> Results:
    """The results so far of this plan. Raises ValueError if the file holds those of another."""
    if not file.exists():
        return Results(_plain(asdict(plan)), [], {})
    results = read_results(file)
    if results.plan != _plain(asdict(plan)):
        raise ValueError(
            f"'{file.name}' holds results of another plan, {results.plan}: give another file, or delete this one."
        )
    return results


def add_result(
    file: Path, results: Results, key: str, values: Mapping[str, Any], seconds: float, machine: Entry
) -> None:
    """Note what a job found, in memory and on the disk."""
    if machine not in results.machines:
        results.machines.append(machine)
    results.jobs[key] = {**_rounded(values), "seconds": round(seconds, 1), "machine": results.machines.index(machine)}
    with replacing(file) as part:
        part.write_text(_one_job_a_line(results), encoding="utf-8")


def _one_job_a_line(results: Results) -> str:
    jobs = ",\n".join(f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in results.jobs.items())
    head = f' "plan": {json.dumps(results.plan)},\n "machines": {json.dumps(results.machines)},\n'
    return f'{{\n{head} "jobs": {{\n{jobs}\n }}\n}}\n'


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _rounded(value: Any) -> Any:
    """Six decimals are more than any of the measures can tell."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, (list, tuple)) else value
