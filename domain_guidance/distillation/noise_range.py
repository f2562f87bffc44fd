"""At which noise levels a critic is asked, as fractions of the levels it was trained at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class NoiseRange:
    """The part of the critic's own time, from 0 (clean) to 1 (noise), that timesteps are drawn from.

    low, high: fractions of it. The defaults are the paper's 10 to 500 of 1000 timesteps (arXiv 2212.04473, faces); for
    a flow model the same noise is 0.09 to 0.62, and 0.03 to 0.35 with the shift of 3 that SD3 has.
    """

    low: float = 0.01
    high: float = 0.5

    def __post_init__(self):
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(
                f"The range of noise levels goes from {self.low:g} to {self.high:g}: give two fractions between 0 "
                "and 1, the lower first."
            )

    def ends(self, levels: int) -> tuple[int, int]:
        """The first and the last of so many timesteps that are drawn."""
        last = min(round(self.high * levels), levels - 1)
        return min(round(self.low * levels), last), last

    def timesteps(self, count: int, schedule: NoiseSchedule, generator: torch.Generator) -> Tensor:
        """`count` whole timesteps of the schedule, uniform within the range, both ends included; long [count]."""
        first, last = self.ends(len(schedule.sigmas))
        return torch.randint(first, last + 1, (count,), generator=generator)
