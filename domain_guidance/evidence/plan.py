"""How much is trained, searched and measured."""

from __future__ import annotations

from dataclasses import dataclass

from ..domains.training_forms import ADAPTER, EMPTY_PROMPT, SIDE_NETWORK, TEXT_FREE

LARGEST = 1200  # pictures of the domain; smaller sets are the first of these
FEW = 25  # pictures with which early stopping is tried
RATES = {TEXT_FREE: 1e-3, EMPTY_PROMPT: 1e-3, ADAPTER: 1e-2, SIDE_NETWORK: 2e-3}  # those of docs/training.md
BATCH = 32
CONTROLLED = EDITED = (
    "base",
    "fine-tune",
    "DoG",
    "decoupled",
)  # the methods that are given a control, and pictures to edit
STRENGTHS = (0.5, 0.65, 0.8)  # of editing: shares of the sampling
STOPPED = (
    "fine-tune",
    "LoRA",
    "decoupled",
    "decoupled, empty prompt",
    "decoupled, adapter",
    "side network",
)  # the methods that early stopping is tried with
# after the name of a method or of a training: with the file that was best on held-out pictures, not the last
EARLY = ", early"
EVALUATE_EVERY = 50  # steps between two measurements on held-out pictures


@dataclass(frozen=True)
class Plan:
    """What is trained, searched and measured, and how much of it.

    sizes: pictures to train on. seeds: of the trainings that are measured. searched: the training that weights are
    chosen with. steps: of every domain and fine-tune, whatever the number of pictures. control_steps: of the control
    network. sampling: steps of every drawing. search_repeats, repeats: pictures for each of the 50 prompts, in the
    search and in a measurement.
    """

    name: str
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    searched: int
    steps: int
    control_steps: int
    sampling: int
    search_repeats: int
    repeats: int


QUICK = Plan("quick", (LARGEST,), (0,), 0, steps=300, control_steps=200, sampling=12, search_repeats=1, repeats=2)
FULL = Plan(
    "full",
    (LARGEST, 400, 100, 25),
    (1, 2, 3),
    0,
    steps=600,
    control_steps=1500,
    sampling=20,
    search_repeats=2,
    repeats=5,
)
PLANS = {plan.name: plan for plan in (QUICK, FULL)}
