"""Terms that are evaluated on every n-th step of the sampler, and held on the steps between."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ....domain_guidance.diffusion.double_precision import in_double
from ....domain_guidance.guidance import Term

SAME_LEVEL = 1e-4  # relative: samplers hand levels on in their own precision


class Held(NamedTuple):
    step: int
    term: Term


class HeldTerms:
    """The last evaluation of every term of one sampling run. sigmas: the run's levels."""

    def __init__(self, sigmas: Tensor):
        self._levels = torch.unique(sigmas.detach().cpu().double())  # the device may have no fp64
        self._held: dict[int, Held] = {}

    def step(self, level: float) -> int:
        """The step, counted from 0, in which the sampler asks at `level`, also where it asks between two levels."""
        return int((self._levels >= level * (1 - SAME_LEVEL)).sum()) - 1

    def held(self, number: int, every: int, level: float, x: Tensor) -> Term | None:
        """What the term of this number said on an earlier step and still stands for; None where it has to be asked.

        Also after a sampler has gone back to more noise, and where it asks for another part of the batch.
        """
        last = self._held.get(number)
        if last is None or not last.step < self.step(level) < last.step + every:
            return None
        return last.term if last.term.prediction.shape == x.shape else None

    def keep(self, number: int, level: float, term: Term) -> None:
        self._held[number] = Held(self.step(level), term)


def moved(held: Term, now: Term) -> float:
    """How far a term is from what was held of it, over its length now."""
    before, after = (in_double(term.prediction - term.reference) for term in (held, now))
    length = torch.linalg.vector_norm(after).clamp_min(torch.finfo(torch.float64).tiny)
    return float(torch.linalg.vector_norm(after - before) / length)
