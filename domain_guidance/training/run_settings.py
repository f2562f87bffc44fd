"""How a domain is trained: the settings of every run, and those that only a run on images has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..diffusion.time_sampling import TIME_SAMPLINGS, TimeSampling
from ..runs import BatchSettings
from ..runs.settings import check_not_negative


@dataclass(frozen=True)
class RunSettings(BatchSettings):
    """`BatchSettings`, and how a domain is trained:

    mirror: the share of mirrored images.
    eight_bit_adam: AdamW with moments of 8 bits, where bitsandbytes is installed (what the paper's release uses).
    min_snr: the cap of Hang et al. 2023 (arXiv 2303.09556, 5 there) on the loss weight, 0 for the paper's plain error.
    evaluate_every: steps between two measurements of the held-out loss, 0 for never.
    time_sampling: which noise levels are seen how often (`diffusion.time_sampling`); "auto" as the model's kind usually
        is trained, and uniform for a form with a loss weight of its own; "uniform" as in the paper.
    """

    mirror: float = 0.5
    eight_bit_adam: bool = False
    min_snr: float = 0.0
    evaluate_every: int = 100
    time_sampling: TimeSampling | Literal["auto"] = "uniform"

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.mirror <= 1:
            raise ValueError(f"mirror is {self.mirror}: give the share of mirrored images, from 0 to 1.")
        check_not_negative(self, "min_snr", "evaluate_every")
        if self.time_sampling not in ("auto", *TIME_SAMPLINGS):
            raise ValueError(
                f"time_sampling is '{self.time_sampling}': give auto or one of {', '.join(TIME_SAMPLINGS)}."
            )
