"""Doing what is not done yet."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from .jobs import Bench, Job, all_jobs, waiting
from .results import Entry, Results, add_result, open_results
from .worlds import Workshop

logger = logging.getLogger(__name__)


def run(workshop: Workshop, file: Path, machine: Entry) -> Results:
    """Do all jobs of the workshop's plan that `file` does not hold yet; it is whole after each of them.

    machine: what the work is done on, for the file. Raises ValueError if the file holds another plan's results.
    """
    results = open_results(file, workshop.plan)
    jobs = waiting(all_jobs(workshop.plan), results, lambda key: trained_file(workshop, key).exists())
    for number, job in enumerate(jobs, start=1):
        started = time.monotonic()
        values = job.run(Bench(workshop, results))
        add_result(file, results, job.key, values, time.monotonic() - started, machine)
        logger.info("%d of %d: %s, %.0f s", number, len(jobs), _said(job, values), time.monotonic() - started)
    return results


def trained_file(workshop: Workshop, key: str) -> Path:
    """The file that the training of this key makes."""
    if key == "train/control":
        return workshop.folder / "control.safetensors"
    _, name, size, seed = key.split("/")
    return workshop.file(name, int(size), int(seed))


def _said(job: Job, values) -> str:
    numbers = ", ".join(f"{name} {value:.3g}" for name, value in values.items() if isinstance(value, float))
    return f"{job.key}: {numbers}" if numbers else job.key
