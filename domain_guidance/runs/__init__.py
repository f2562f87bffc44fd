"""The engine of everything that trains: its loop, state, files, resume and processes."""

from .ema import Ema, ema_decay
from .events import Checkpoint, Evaluated, Event, Finished, Prepared, Sample, Saved, Step
from .loop import Objective, Settings, TrainingState, learning_rate, step_generator, train
from .process import OneProcess, Process
from .run_files import RunFileError, RunFiles
from .settings import BatchSettings
from .share import Share, shares
from .state import load_state, save_state
from .to_the_end import train_to_the_end

__all__ = [
    "BatchSettings",
    "Checkpoint",
    "Ema",
    "Evaluated",
    "Event",
    "Finished",
    "Objective",
    "OneProcess",
    "Prepared",
    "Process",
    "RunFileError",
    "RunFiles",
    "Sample",
    "Saved",
    "Settings",
    "Share",
    "Step",
    "TrainingState",
    "ema_decay",
    "learning_rate",
    "load_state",
    "save_state",
    "shares",
    "step_generator",
    "train",
    "train_to_the_end",
]
