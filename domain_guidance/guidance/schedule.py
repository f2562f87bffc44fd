"""Guidance whose weight changes over the sampling.

The shapes are our choice; for the interval see Kynkäänniemi et al. 2024, arXiv 2404.07724.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A factor on a term's weight, as a function of how much of the sampling is done.

    That share is 0 at the start and 1 at the end. factors: at equal distances from `start` to `end`, with straight
    lines between them. eased: with half cosines instead. held: before `start` and after `end` the first and the last
    factor hold; otherwise the factor is 0 there. Make one with the functions below.
    """

    factors: tuple[float, ...] = (1.0,)
    start: float = 0.0
    end: float = 1.0
    eased: bool = False
    held: bool = True

    def __post_init__(self):
        if not self.factors or not all(math.isfinite(factor) for factor in self.factors):
            raise ValueError(
                f"A weight schedule has the factors {list(self.factors)}: give at least one finite number."
            )
        if not 0.0 <= self.start < self.end <= 1.0:
            raise ValueError(
                f"A weight schedule starts at {self.start:g} and ends at {self.end:g} of the sampling: both lie "
                "between 0 and 1, so set the start percent below the end percent."
            )

    def __call__(self, share: float) -> float:
        if not self.held and not (self.start <= share < self.end or share == self.end == 1.0):
            return 0.0
        done = min(max((share - self.start) / (self.end - self.start), 0.0), 1.0)
        whole, part = divmod(done * (len(self.factors) - 1), 1.0)
        left, right = self.factors[int(whole)], self.factors[min(int(whole) + 1, len(self.factors) - 1)]
        part = (1.0 - math.cos(math.pi * part)) / 2 if self.eased else part
        return left + part * (right - left)


def constant(factor: float = 1.0) -> Schedule:
    return Schedule((factor,))


def interval(start: float, end: float, factor: float = 1.0) -> Schedule:
    """`factor` for start <= share < end, or to the very end where that is 1; 0 outside."""
    return Schedule((factor,), start, end, held=False)


def linear(first: float, last: float, start: float = 0.0, end: float = 1.0) -> Schedule:
    """A straight line from `first` at `start` to `last` at `end`, held before and after."""
    return Schedule((first, last), start, end)


def cosine(first: float, last: float, start: float = 0.0, end: float = 1.0) -> Schedule:
    """Half a cosine from `first` at `start` to `last` at `end`: level at both ends, held before and after."""
    return Schedule((first, last), start, end, eased=True)


def listed(factors: Sequence[float], start: float = 0.0, end: float = 1.0) -> Schedule:
    """Straight lines through `factors` at equal distances."""
    return Schedule(tuple(factors), start, end)


def share_of(sigma: float, sigma_at: Callable[[float], float]) -> float:
    """The share of the sampling at which `sigma` is reached, to six decimals: the inverse of a host's percent to sigma.

    sigma_at: falling, from share 0 to 1. The smallest share is taken where it stands still; levels above its range give
    0, below it 1.
    """
    low, high = 0.0, 1.0
    while high - low > 1e-8:
        middle = (low + high) / 2
        low, high = (middle, high) if sigma_at(middle) > sigma else (low, middle)
    return round(high, 6)
