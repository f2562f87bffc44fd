"""Whether samples lie nearer to reference images than reference images lie to each other, in numbers and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CLOSE = 0.05  # share of the reference images that lie as near to another one
CHANCE = 0.01  # below this probability a number of close samples is no chance


@dataclass(frozen=True)
class Memorisation:
    """How many samples lie closer to a reference image than chance brings.

    threshold: the distance that counts as close. close: samples within it, of `samples`. expected: as many by chance.
    probability: that chance brings as many or more. copies: samples at less than half the distance of any two different
    reference images [choice]. twins: reference images that another one of the set equals.
    """

    threshold: float
    close: int
    expected: float
    probability: float
    copies: int
    samples: int
    references: int
    twins: int

    @property
    def is_suspected(self) -> bool:
        return self.probability < CHANCE or self.copies > 0


def memorisation(distances: Tensor, reference: Tensor) -> Memorisation | None:
    """Find out whether samples lie closer to the reference images than these lie to each other.

    Compared are the samples' distances to their nearest reference image [N] and the reference images' to their nearest
    other [M]. Our choice, in the spirit of Meehan et al. 2020 (arXiv 2004.05675): fresh pictures of the same
    distribution lie as near to the reference as its own images do, so as many of them fall below its CLOSE quantile.
    Were all N + M distances exchangeable, the number that does would be beta-binomial, which is where the probability
    comes from. They are so only nearly: it is a calibrated eye, not a proof. Reference images with a twin are left out,
    because they would hide any copy. None where fewer than 20 are left: there is no such quantile.
    """
    apart = reference[reference > 0].sort().values
    count = int(CLOSE * len(apart))
    if not count:
        return None
    threshold = apart[count - 1]
    close = int((distances <= threshold).sum())
    return Memorisation(
        threshold=threshold.item(),
        close=close,
        expected=len(distances) * count / (len(apart) + 1),
        probability=at_least(close, len(distances), count, len(apart)),
        copies=int((distances < apart[0] / 2).sum()),
        samples=len(distances),
        references=len(reference),
        twins=len(reference) - len(apart),
    )


def at_least(close: int, samples: int, rank: int, references: int) -> float:
    """The probability that `close` or more of `samples` new values lie below an order statistic.

    It is the `rank`-th smallest of `references` others. All are exchangeable, so their number is beta-binomial with
    parameters rank and references - rank + 1.
    """
    a, b = rank, references - rank + 1
    k = torch.arange(close, samples + 1, dtype=torch.float64)
    n = torch.tensor(float(samples), dtype=torch.float64)
    ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    beta = torch.lgamma(k + a) + torch.lgamma(n - k + b) - torch.lgamma(n + a + b)
    whole = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return min(1.0, torch.exp(ways + beta - whole).sum().item())


def describe(found: Memorisation | None) -> str:
    """One to three sentences, with all numbers of images."""
    if found is None:
        return "Memorisation cannot be told with fewer than 20 different reference images."
    share = (
        f"{found.close} of {found.samples} images lie as near to a reference image as only {CLOSE:.0%} of "
        "those lie to one another"
    )
    text = f"{share}, where chance alone would give about {found.expected:.0f}"
    if found.copies:
        lie = "1 image lies" if found.copies == 1 else f"{found.copies} images lie"
        text += (
            f"; {lie} at less than half the distance of any two reference images, as "
            f"{'a copy does' if found.copies == 1 else 'copies do'}"
        )
    text = (
        f"Memorisation is suspected: {text}. Look at the closest pairs."
        if found.is_suspected
        else f"No sign of memorisation: {text}."
    )
    if found.twins:
        text += f" {found.twins} of {found.references} reference images have an exact twin: remove the duplicates."
    return text
