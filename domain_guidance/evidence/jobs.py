"""Every job of a plan: what it is called, what it needs, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..domains.domain_file import read_card
from ..toy_world.comparison import BEST, every_prompt, held_out_as_asked
from ..toy_world.digits import load_digits
from ..toy_world.methods import METHODS, Method, Weights
from ..toy_world.scenes import paint_domain
from .cells import draw, measure
from .control import asked_masks, control_answers, inked, kept, train_control
from .editing import sources
from .plan import CONTROLLED, EARLY, EDITED, FEW, LARGEST, RATES, STOPPED, STRENGTHS, Plan
from .results import Results
from .two_domains import composed, half_masks, paint_notes, plates_in_halves
from .world import World
from .worlds import Workshop, training_pictures, unet_of_file

FORMS = ("text-free", "empty-prompt", "adapter", "side-network", "weak")
SEARCH_NOISE, NOISE = 90210, 2023
NOTES_SEED = 77
SHIPPED_REPEATS = 1


@dataclass(frozen=True)
class Bench:
    """What a job works with: the workshop, and the results of the jobs before it."""

    workshop: Workshop
    results: Results

    @property
    def plan(self) -> Plan:
        return self.workshop.plan

    def world(self, method: str, size: int, seed: int) -> World:
        return self.workshop.world(_models(method), size, seed)

    @property
    def control(self) -> Path:
        return self.workshop.folder / "control.safetensors"


@dataclass(frozen=True)
class Job:
    """One piece of the work of a plan.

    key: unique, its parts divided by slashes. needs: the jobs that come before it. run: gives values for the results.
    """

    key: str
    needs: tuple[str, ...]
    run: Callable[[Bench], Mapping[str, Any]]

    @property
    def trains(self) -> bool:
        """Whether what it makes are files, which only later jobs read."""
        return self.key.startswith("train/")


def all_jobs(plan: Plan) -> list[Job]:
    """In an order in which all that a job needs comes before it."""
    return [*_trainings(plan), *_searches(plan), *_measurements(plan), *_tasks(plan)]


def waiting(jobs: list[Job], results: Results, is_trained: Callable[[str], bool]) -> list[Job]:
    """The jobs still to be done; a training whose files are gone is among them only if one that waits needs it."""
    open_jobs = [job for job in jobs if not job.trains and job.key not in results.jobs]
    needed = {key for job in open_jobs for key in job.needs}
    return [job for job in jobs if job in open_jobs or (job.trains and job.key in needed and not is_trained(job.key))]


def _trainings(plan: Plan) -> Iterator[Job]:
    for seed, size in product(sorted({plan.searched, *plan.seeds}), plan.sizes):
        for name in (*FORMS, *(_early(RATES) if size == FEW else ())):
            yield Job(f"train/{name}/{size}/{seed}", (), partial(_train, name=name, size=size, seed=seed))


def _searches(plan: Plan) -> Iterator[Job]:
    yield Job("search/base", (), partial(_search, method="base", size=0))
    for size, method in _compared(plan):
        yield Job(
            f"search/{size}/{method}", _trained(method, size, plan.searched), partial(_search, method=method, size=size)
        )


def _measurements(plan: Plan) -> Iterator[Job]:
    yield Job("measure/real", (), _measure_real)
    yield Job("measure/base", ("search/base",), partial(_measure, method="base", size=0, seed=plan.seeds[0]))
    for method in BEST:
        yield Job(f"measure/shipped/{method}", (), partial(_measure_shipped, method=method))
    for (size, method), seed in product(_compared(plan), plan.seeds):
        yield Job(
            f"measure/{size}/{seed}/{method}",
            _before(method, size, seed),
            partial(_measure, method=method, size=size, seed=seed),
        )


def _tasks(plan: Plan) -> Iterator[Job]:
    """Control, editing and two domains, with the trainings that nothing else needs."""
    yield Job("train/control", (), _train_control)
    for seed in plan.seeds:
        yield Job(f"train/notes/{LARGEST}/{seed}", (), partial(_train_notes, seed=seed))
    yield Job("control/real", (), _control_real)
    yield Job("editing/source", (), _editing_source)
    for seed in plan.seeds:
        for method in CONTROLLED:
            needs = (*_before(method, LARGEST, seed), "train/control")
            for seen in (True, False):
                key = f"control/{seed}/{method}/{'seen' if seen else 'unseen'}"
                yield Job(key, needs, partial(_control, method=method, seed=seed, seen=seen))
        for method, strength in product(EDITED, STRENGTHS):
            run = partial(_edit, method=method, seed=seed, strength=strength)
            yield Job(f"editing/{seed}/{method}/{strength}", _before(method, LARGEST, seed), run)
        for case in ("plates", "notes", "halves"):
            needs = (*_before("decoupled", LARGEST, seed), f"train/notes/{LARGEST}/{seed}")
            yield Job(f"two/{seed}/{case}", needs, partial(_two_domains, case=case, seed=seed))


def _compared(plan: Plan) -> Iterator[tuple[int, str]]:
    """A number of pictures and the name of a method that is trained with it."""
    for size in plan.sizes:
        for method in (*METHODS, *(_early(STOPPED) if size == FEW else ())):
            if method != "base":
                yield size, method


def _early(names: Iterable[str]) -> list[str]:
    return [name + EARLY for name in names]


def _method(name: str) -> Method:
    return METHODS[name.removesuffix(EARLY)]


def _models(method: str) -> tuple[str, ...]:
    """The trainings that a method needs."""
    return tuple(model + EARLY * method.endswith(EARLY) for model in _method(method).needs)


def _trained(method: str, size: int, seed: int) -> tuple[str, ...]:
    return tuple(f"train/{model}/{size}/{seed}" for model in _models(method))


def _before(method: str, size: int, seed: int) -> tuple[str, ...]:
    if method == "base":
        return ("search/base",)
    return (*_trained(method, size, seed), "search/base", f"search/{size}/{method}")


# --- what the jobs do ------------------------------------------------------------------------------------------------


def _train(bench: Bench, name: str, size: int, seed: int) -> dict:
    bench.workshop.train(name, size, seed)
    return {"trained_steps": read_card(bench.workshop.file(name, size, seed)).training["trained_steps"]}


def _train_control(bench: Bench) -> dict:
    train_control(bench.control, bench.plan.control_steps, bench.workshop.device)
    return {}


def _train_notes(bench: Bench, seed: int) -> dict:
    generator = torch.Generator().manual_seed(NOTES_SEED + seed)
    bench.workshop.train_other("notes", paint_notes(load_digits("domain"), LARGEST, generator).images, seed)
    return {}


def _search(bench: Bench, method: str, size: int) -> dict:
    asked, rows = every_prompt(bench.plan.search_repeats), []
    world = bench.world(method, size, bench.plan.searched)
    for weights in _method(method).grid:
        images = draw(world, _method(method).build(world, **weights), asked, SEARCH_NOISE)
        rows.append({"weights": dict(weights), **asdict(measure(world.judge, images, asked))})
    return {"grid": rows}


def _measure_real(bench: Bench) -> dict:
    asked = every_prompt(bench.plan.repeats)
    return asdict(measure(bench.workshop.world().judge, held_out_as_asked(asked), asked))


def _measure(bench: Bench, method: str, size: int, seed: int) -> dict:
    weights = bench.results.chosen(method, size)
    trained_on = training_pictures(size, seed) if size else None
    return _cell(bench.world(method, size, seed), method, weights, bench.plan.repeats, NOISE + seed, trained_on)


def _measure_shipped(bench: Bench, method: str) -> dict:
    return _cell(bench.workshop.shipped_world(), method, BEST[method], SHIPPED_REPEATS, NOISE)


def _cell(
    world: World, method: str, weights: Weights, repeats: int, noise: int, trained_on: Tensor | None = None
) -> dict:
    asked = every_prompt(repeats)
    images = draw(world, _method(method).build(world, **weights), asked, noise)
    return {"weights": dict(weights), **asdict(measure(world.judge, images, asked, trained_on))}


def _control_real(bench: Bench) -> dict:
    real = inked(paint_domain, load_digits("held_out"), 1000, torch.Generator().manual_seed(NOISE))
    return {"kept": kept(real.scenes.images, real.masks), "count": 1000}


def _control(bench: Bench, method: str, seed: int, seen: bool) -> dict:
    asked, weights = every_prompt(1), bench.results.chosen(method, LARGEST)
    masks, world = asked_masks(asked), bench.world(method, LARGEST, seed)
    if seen:
        world = world.seeing(control_answers(bench.control, masks, bench.workshop.device))
    images = draw(world, METHODS[method].build(world, **weights), asked, NOISE + seed)
    return {**asdict(measure(world.judge, images, asked)), "kept": kept(images, masks), "weights": dict(weights)}


def _editing_source(bench: Bench) -> dict:
    given = sources(len(every_prompt(1)))
    judge = bench.workshop.world().judge
    return {**asdict(measure(judge, given.images, given.asked)), "kept": kept(given.images, given.masks)}


def _edit(bench: Bench, method: str, seed: int, strength: float) -> dict:
    given, weights = sources(len(every_prompt(1))), bench.results.chosen(method, LARGEST)
    world = bench.world(method, LARGEST, seed)
    images = draw(world, METHODS[method].build(world, **weights), given.asked, NOISE + seed, given.images, strength)
    return {
        **asdict(measure(world.judge, images, given.asked)),
        "kept": kept(images, given.masks),
        "weights": dict(weights),
    }


def _two_domains(bench: Bench, case: str, seed: int) -> dict:
    asked, weights = every_prompt(1), bench.results.chosen("decoupled", LARGEST)
    world = bench.world("decoupled", LARGEST, seed)
    notes = replace(
        world.models["base"], unet=unet_of_file(bench.workshop.file("notes", LARGEST, seed)).to(bench.workshop.device)
    )
    world = replace(world, models={"base": world.models["base"], "plates": world.models["text-free"], "notes": notes})
    halves = half_masks()
    masks: Mapping[str, Tensor | None]
    masks = {"plates": halves["left"], "notes": halves["right"]} if case == "halves" else {case: None}
    images = draw(world, composed(world, masks=masks, **weights), asked, NOISE + seed)
    found = measure(world.judge, images, asked)
    plates = {f"{half} plates": value for half, value in plates_in_halves(images).items()}
    return {"digit": found.digit, "colour": found.colour, **plates, "count": found.count, "weights": dict(weights)}
