"""The one training loop: every network of this project that learns, learns here."""

from .ema import Ema, ema_decay
from .events import Checkpoint, Event, Finished, Sample, Step
from .loop import Objective, Settings, TrainingState, learning_rate, step_generator, train
from .loss import Batch, noise_loss, noise_objective
from .state import load_state, save_state, save_tensors

__all__ = [
    "Batch",
    "Checkpoint",
    "Ema",
    "Event",
    "Finished",
    "Objective",
    "Sample",
    "Settings",
    "Step",
    "TrainingState",
    "ema_decay",
    "learning_rate",
    "load_state",
    "noise_loss",
    "noise_objective",
    "save_state",
    "save_tensors",
    "step_generator",
    "train",
]
