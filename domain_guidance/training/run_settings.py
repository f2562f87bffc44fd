"""How a run is made: the loop's settings, those of every run with files, and those that only a run on images has."""

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
            raise ValueError(f"The precision '{self.precision}' was asked for: choose one of {', '.join(get_args(Precision))}.")
        for name in ("batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1.")
        for name in ("learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number above 0.")


@dataclass(frozen=True)
class RunSettings(BatchSettings):
    """`BatchSettings`, and how a domain is trained:

    mirror: the share of mirrored images.
    eight_bit_adam: AdamW with moments of 8 bits, where bitsandbytes is installed (what the paper's release uses).
    min_snr: the cap of Hang et al. 2023 (arXiv 2303.09556, 5 there) on the loss weight, 0 for the paper's plain error.
    evaluate_every: steps between two measurements of the held-out loss, 0 for never.
    """

    mirror: float = 0.5
    eight_bit_adam: bool = False
    min_snr: float = 0.0
    evaluate_every: int = 100

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.mirror <= 1:
            raise ValueError(f"mirror is {self.mirror}: give the share of mirrored images, from 0 to 1.")
