"""Training from a script: go on from the last checkpoint, tell the log, and end with the averaged weights."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch

from .events import Checkpoint, Step
from .loop import MakeOptimizer, Objective, Settings, TrainingState, adamw, train
from .state import load_state, save_state

logger = logging.getLogger(__name__)


def train_to_the_end(
    module: torch.nn.Module,
    objective: Objective,
    settings: Settings,
    saved: Path,
    make_optimizer: MakeOptimizer = adamw,
) -> None:
    """Train to the end, from `saved` where it exists; afterwards the module holds the averaged weights."""
    state = TrainingState(module, settings, make_optimizer)
    if saved.exists():
        load_state(saved, state)
        logger.info("%s: goes on after step %d", saved.stem, state.step)
    first, started, losses = state.step, time.monotonic(), []
    for event in train(state, objective, settings):
        if isinstance(event, Step):
            losses.append(event.loss)
        if isinstance(event, Checkpoint):
            save_state(saved, state)
            pace = (event.step - first) / (time.monotonic() - started)
            recent = sum(losses[-settings.checkpoint_every :]) / len(losses[-settings.checkpoint_every :])
            logger.info(
                "%s: step %d of %d, loss %.4f, %.1f steps/s", saved.stem, event.step, settings.steps, recent, pace
            )
