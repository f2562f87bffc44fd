"""Doing what is not done yet, one job after another or several at once."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from .jobs import Bench, Job, all_jobs, waiting
from .results import Entry, Results, add_result, open_results
from .worlds import Workshop

logger = logging.getLogger(__name__)
Done = tuple[Job, Mapping[str, Any], float]  # a job, what it found, and its seconds by the clock


def run(workshop: Workshop, file: Path, machine: Entry, workers: int = 1) -> Results:
    """Do all jobs of the workshop's plan that `file` does not hold yet; it is whole after each of them.

    machine: what the work is done on, for the file. workers: processes; with more than one, jobs that do not need each
    other are done at the same time, with the same results. Raises ValueError if the file holds another plan's results.
    """
    results = open_results(file, workshop.plan)
    jobs = waiting(all_jobs(workshop.plan), results, lambda key: trained_file(workshop, key).exists())
    workshop.write_base()
    done = (
        _in_turn(Bench(workshop, results), jobs) if workers == 1 else _at_once(Bench(workshop, results), jobs, workers)
    )
    for number, (job, values, seconds) in enumerate(done, start=1):
        add_result(file, results, job.key, values, seconds, machine)
        logger.info("%d of %d: %s, %.0f s", number, len(jobs), _said(job, values), seconds)
    return results


def _in_turn(bench: Bench, jobs: list[Job]) -> Iterator[Done]:
    for job in jobs:
        yield job, *_timed(bench, job)


def _at_once(bench: Bench, jobs: list[Job], workers: int) -> Iterator[Done]:
    """Every job as soon as a worker is free and all that it needs is done."""
    todo, doing = list(jobs), dict[Future, Job]()
    threads = max(1, torch.get_num_threads() // workers)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (threads,))
    try:
        while todo or doing:
            missing = {job.key for job in (*todo, *doing.values())}
            for job in [job for job in todo if missing.isdisjoint(job.needs)][: workers - len(doing)]:
                doing[pool.submit(_by_key, deepcopy(bench), job.key)] = (
                    job  # the pool reads it later, from a thread of its own
                )
                todo.remove(job)
            for future in wait(doing, return_when=FIRST_COMPLETED).done:
                yield doing.pop(future), *future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _by_key(bench: Bench, key: str) -> tuple[Mapping[str, Any], float]:
    return _timed(bench, next(job for job in all_jobs(bench.plan) if job.key == key))


def _timed(bench: Bench, job: Job) -> tuple[Mapping[str, Any], float]:
    started = time.monotonic()
    return job.run(bench), time.monotonic() - started


def trained_file(workshop: Workshop, key: str) -> Path:
    """The file that the training of this key writes at its end."""
    if key == "train/control":
        return workshop.folder / "control.safetensors"
    _, name, size, seed = key.split("/")
    return workshop.last_file(name, int(size), int(seed))


def _said(job: Job, values) -> str:
    numbers = ", ".join(f"{name} {value:.3g}" for name, value in values.items() if isinstance(value, float))
    return f"{job.key}: {numbers}" if numbers else job.key
