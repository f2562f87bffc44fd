"""The one training loop: every network of this project that learns, learns here."""

from ..atomic_file import save_tensors
from .domain_run import train_domain
from .ema import Ema, ema_decay
from .events import Checkpoint, Evaluated, Event, Finished, Prepared, Sample, Saved, Step
from .loop import Objective, Settings, TrainingState, learning_rate, step_generator, train
from .loss import Batch, Share, min_snr, noise_loss, noise_objective
from .memory import MemoryEstimate, memory_estimate
from .process import OneProcess, Process
from .run_files import RunFileError, RunFiles
from .run_settings import BatchSettings, RunSettings
from .state import load_state, save_state
from .trainable import Trainable

__all__ = [
    "Batch",
    "BatchSettings",
    "Checkpoint",
    "Ema",
    "Evaluated",
    "Event",
    "Finished",
    "MemoryEstimate",
    "Objective",
    "OneProcess",
    "Prepared",
    "Process",
    "RunFileError",
    "RunFiles",
    "RunSettings",
    "Sample",
    "Saved",
    "Settings",
    "Share",
    "Step",
    "Trainable",
    "TrainingState",
    "ema_decay",
    "learning_rate",
    "load_state",
    "memory_estimate",
    "min_snr",
    "noise_loss",
    "noise_objective",
    "save_state",
    "save_tensors",
    "step_generator",
    "train",
    "train_domain",
]
