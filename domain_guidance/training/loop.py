"""The loop: a generator of events in which one step counter drives seed, data, learning rate and average."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .ema import Ema
from .events import Checkpoint, Event, Finished, Sample, Step

Objective = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults are METHOD's where the paper has any. Warm-up and cosine are off unless asked for.

    steps: optimiser steps in all. sample_every, checkpoint_every: in steps, 0 for never.
    """

    steps: int
    learning_rate: float = 1e-5
    weight_decay: float = 1e-2
    max_gradient_norm: float = 1.0
    warmup: int = 0
    cosine: bool = False
    seed: int = 0
    sample_every: int = 0
    checkpoint_every: int = 0

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"Training for {self.steps} steps was asked for: give at least 1.")


class TrainingState:
    """All that a resumed run needs: the trained parameters, their averages, the optimiser and the step counter."""

    def __init__(self, module: torch.nn.Module, settings: Settings):
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError("Every parameter of the model is frozen: leave some trainable before training.")
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.ema = Ema(self.parameters)
        self.step = 0


def train(state: TrainingState, objective: Objective, settings: Settings) -> Iterator[Event]:
    """Train `state`'s parameters from its step to `settings.steps`, telling what happens.

    objective: the loss of one batch, a scalar, drawn with the generator it is given; `loss.noise_objective` makes one.
    Raises FloatingPointError when a loss is not finite, before it reaches the weights.
    """
    while state.step < settings.steps:
        yield _one_step(state, objective, settings)
        if _due(state.step, settings.sample_every):
            with state.ema.swapped_in():
                yield Sample(state.step)
        if _due(state.step, settings.checkpoint_every):
            yield Checkpoint(state.step)
    state.ema.copy_to_model()
    yield Finished(state.step)


def learning_rate(step: int, settings: Settings) -> float:
    """The rate of step `step` (from 0): linear warm-up, then constant or half a cosine to zero."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    if not settings.cosine:
        return settings.learning_rate
    progress = (step - settings.warmup) / (settings.steps - settings.warmup)
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def step_generator(step: int, seed: int) -> torch.Generator:
    """All randomness of one step: a resumed run draws what the uninterrupted one would have drawn."""
    return torch.Generator().manual_seed((seed << 32) + step)


def _one_step(state: TrainingState, objective: Objective, settings: Settings) -> Step:
    loss = objective(step_generator(state.step, settings.seed))
    _check_finite(loss.item(), state.step + 1)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.parameters.values(), settings.max_gradient_norm)
    rate = learning_rate(state.step, settings)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.ema.update(state.step)
    return Step(state.step, loss.item(), rate)


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"The loss of step {step} is {loss}: lower the learning rate and resume from the last checkpoint."
        )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
