"""How a run with files is made: the loop's settings, and how a step's batch is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from .loop import Settings
from .process import Precision


@dataclass(frozen=True)
class BatchSettings(Settings):
    """`loop.Settings`, and how a step's batch is computed:

    batch_size: images at a time, of one process. accumulation: micro-batches a step; their gradients are averaged.
    precision: of the network's arithmetic; the trained weights stay in fp32.
    """

    batch_size: int = 1
    accumulation: int = 1
    precision: Precision = "fp32"

    def __post_init__(self):
        super().__post_init__()
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision is '{self.precision}': choose one of {', '.join(get_args(Precision))}.")
        for name in ("batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1.")
        for name in ("learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number above 0.")
        check_not_negative(self, "weight_decay", "warmup", "sample_every", "checkpoint_every")


def check_not_negative(settings: BatchSettings, *names: str) -> None:
    """Raises ValueError for the first of these settings that is below 0 or NaN; 0 turns each of them off."""
    for name in names:
        value = getattr(settings, name)
        if not value >= 0:
            raise ValueError(f"{name} is {value}: give 0 to turn it off, or a number above 0.")
