"""Whether one way of drawing is not worse than another, from pictures of the same prompts and noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..evaluation import polynomial
from ..toy_world.comparison import held_out_domain
from ..toy_world.features import FeatureNet
from ..toy_world.prompts import Prompts
from .cells import REFERENCE, diversity

RESAMPLED, UPPER = 2000, 0.95
DIGITS, DISTANCE, DIVERSITY = 0.02, 0.005, 0.97  # the rule


@dataclass(frozen=True)
class Loss:
    """What is lost at most: the estimate, and the upper end of its one-sided 95 % interval."""

    found: float
    upper: float


@dataclass(frozen=True)
class Paired:
    """The second way against the first, from `count` pairs of pictures.

    digits: share of the pictures that no longer show the digit that was asked for. distance: what is gained in kernel
    distance to held-out pictures of the domain. diversity: the second's over the first's.
    """

    digits: Loss
    distance: Loss
    diversity: float
    count: int

    @property
    def not_worse(self) -> bool:
        """At most 2 % of the digits lost and 0.005 gained in distance, both by the upper end; 0.97 of the diversity."""
        inside = self.digits.upper <= DIGITS and self.distance.upper <= DISTANCE
        return inside and self.diversity >= DIVERSITY


def compare_pairs(judge: FeatureNet, first: Tensor, second: Tensor, asked: Prompts) -> Paired:
    """Compare pictures [N, 3, 16, 16] of two ways, in the order of the prompts.

    The ends come from 2,000 resamplings of pairs. What no pair showed may still happen to 3 of N (the rule of three),
    so the end for digits is never below that.
    """
    varied = _diversities(first, second, asked)
    count, generator = len(asked), torch.Generator().manual_seed(0)
    reference = judge.read(held_out_domain(REFERENCE).images).features.double()
    read = [judge.read(images) for images in (first, second)]
    right = [(found.digit == asked.digit).double() for found in read]
    kernels = [_kernels(found.features.double(), reference) for found in read]

    def differences(times: Tensor) -> tuple[Tensor, Tensor]:
        digits = ((right[0] - right[1]) * times).sum() / times.sum()
        return digits, _distance(*kernels[1], times) - _distance(*kernels[0], times)

    drawn = [differences(_resample(count, generator)) for _ in range(RESAMPLED)]
    digits, distance = (torch.stack(values).quantile(UPPER).item() for values in zip(*drawn))
    found = differences(torch.ones(count, dtype=torch.float64))
    return Paired(
        Loss(found[0].item(), max(digits, 3 / count)),
        Loss(found[1].item(), distance),
        varied,
        count,
    )


def _diversities(first: Tensor, second: Tensor, asked: Prompts) -> float:
    ours, theirs = diversity(second, asked), diversity(first, asked)
    if ours is None or theirs is None:
        raise ValueError("Every prompt was drawn once: draw each at least twice to compare how much pictures differ.")
    return ours / theirs


def _resample(count: int, generator: torch.Generator) -> Tensor:
    """How often each of `count` pairs is drawn, [count]."""
    return torch.randint(count, (count,), generator=generator).bincount(minlength=count).double()


def _kernels(ours: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Kernels between pictures [N, N], and the mean one of each to the reference [N]."""
    return polynomial(ours, ours), polynomial(ours, reference).mean(1)


def _distance(among: Tensor, towards: Tensor, times: Tensor) -> Tensor:
    """Squared mean discrepancy, unbiased, up to what the reference alone adds; times: how often each picture counts.

    A picture that was drawn twice is not compared with itself.
    """
    total = times.sum()
    pairs = times @ among @ times - (times.square() * among.diagonal()).sum()
    return pairs / (total**2 - times.square().sum()) - 2 * (times * towards).sum() / total
