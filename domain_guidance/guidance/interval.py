"""Guidance in a limited range of noise levels (Kynkäänniemi et al. 2024, arXiv 2404.07724)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SigmaInterval:
    """The noise levels at which a term acts, `end < sigma <= start` as in the paper.

    Where one interval ends, the next may begin. start: the highest sigma, math.inf for no limit. end: the lowest, 0 for
    no limit. Sampling runs from high to low, so `start` comes first in time, as in a host's start and end percent.
    """

    start: float = math.inf
    end: float = 0.0

    def __post_init__(self):
        if self.start <= self.end:
            raise ValueError(
                f"The guidance interval is empty: it starts at sigma {self.start:g} and ends at sigma {self.end:g}. "
                "Sampling goes from high sigma to low, so set the start percent below the end percent."
            )

    def __contains__(self, sigma: float) -> bool:
        return self.end < sigma <= self.start
