"""The loop: a generator of events in which one step counter drives seed, data, learning rate and average."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from .ema import Ema
from .events import Checkpoint, Event, Finished, Sample, Step
from .process import OneProcess, Process

Objective = Callable[[torch.Generator], Tensor]
MakeOptimizer = Callable[[Sequence[torch.nn.Parameter], "Settings"], torch.optim.Optimizer]


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults are the paper's (arXiv 2312.08195) where it has any.

    Warm-up and cosine are off unless asked for.

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
            raise ValueError(f"The number of steps is {self.steps}: give at least 1.")


def adamw(parameters: Sequence[torch.nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """AdamW, the paper's optimiser, with moments as wide as the parameters."""
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


class TrainingState:
    """All that a resumed run needs: the trained parameters, their averages, the optimiser and the step counter.

    average: False for a run that uses the weights of its last step, and keeps no averages in memory.
    whole: false while a step is being made, when the parts do not belong together and must not be saved.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        settings: Settings,
        make_optimizer: MakeOptimizer = adamw,
        *,
        average: bool = True,
    ):
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError("Every parameter of the model is frozen: leave some trainable before training.")
        self.optimizer = make_optimizer(list(self.parameters.values()), settings)
        self.ema = Ema(self.parameters if average else {})
        self.step = 0
        self.whole = True


def train(
    state: TrainingState,
    objective: Objective | Sequence[Objective],
    settings: Settings,
    process: Process | None = None,
) -> Generator[Event, None, None]:
    """Train `state`'s parameters from its step to `settings.steps`, telling what happens.

    objective: the loss of one batch, a scalar, drawn with the generator it is given; `loss.noise_objective` makes one.
        Several are the micro-batches of a step: each gets a generator in the same state, and their gradients are
        averaged.
    process: prepared for `state`'s optimiser; left out, the step is made here in the parameters' own precision.
    Raises FloatingPointError when a loss or gradient is not finite, before it reaches the weights (in fp16 a gradient
    only once no loss scale makes it finite), and ValueError if a trained tensor gets no gradient.
    """
    objectives = objective if isinstance(objective, Sequence) else (objective,)
    process = process or _here(state)
    while state.step < settings.steps:
        yield _one_step(state, objectives, settings, process)
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
    # torch's CPU generator reads the lower 32 bits alone. An odd factor near 2^32 / golden ratio keeps the rows of near
    # seeds apart.
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + step) % 2**32)


def _here(state: TrainingState) -> Process:
    process = OneProcess()
    process.prepare(torch.nn.Module(), state.optimizer)
    return process


def _one_step(state: TrainingState, objectives: Sequence[Objective], settings: Settings, process: Process) -> Step:
    loss = _gradients(state, objectives, settings, process)
    norm = process.clip(state.parameters.values(), settings.max_gradient_norm)
    if problem := _diverged(loss, norm, state.step + 1, process):
        state.optimizer.zero_grad(set_to_none=True)
        raise FloatingPointError(problem)
    rate = learning_rate(state.step, settings)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.whole = False
    process.step()
    state.step += 1
    state.ema.update(state.step)
    state.whole = True
    return Step(state.step, loss, rate)


def _gradients(state: TrainingState, objectives: Sequence[Objective], settings: Settings, process: Process) -> float:
    """Leave the step's gradients in the parameters; the mean loss over micro-batches and processes."""
    total = torch.zeros(())
    for number, objective in enumerate(objectives, start=1):
        with nullcontext() if number == len(objectives) else process.accumulating():
            with process.arithmetic():
                loss = objective(step_generator(state.step, settings.seed)) / len(objectives)
            process.backward(loss)
        total = total.to(loss) + loss.detach()
    without = [name for name, parameter in state.parameters.items() if parameter.grad is None]
    if without:
        raise ValueError(
            f"{len(without)} of {len(state.parameters)} trained tensors got no gradient (the first is '{without[0]}'): "
            "freeze what the network does not use, and train on weights that autograd can see."
        )
    return process.mean(total).item()


def _diverged(loss: float, norm: float, step: int, process: Process) -> str:
    """One sentence if the step must not be made, else empty."""
    if not math.isfinite(loss):
        return f"The loss of step {step} is {loss}: lower the learning rate and train a new version."
    if math.isfinite(norm):
        return ""
    scaling = process.scaling()
    if not scaling:
        return f"The gradient of step {step} is {norm}: lower the learning rate and train a new version."
    # fp16's loss scale is searched by letting it overflow, and such a step is left out. What overflows even below 1
    # (our choice) does not come from the scale, and every step would be left out.
    if scaling["scale"] >= 1:
        return ""
    return f"The gradient of step {step} is {norm} in fp16 at every loss scale: train a new version in bf16 or fp32."


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
