"""Terms made ready for one sampling run: two predictions each, and the weight between them at every noise level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ....domain_guidance.guidance import Reshape, Schedule, SigmaInterval
from ....domain_guidance.guidance.schedule import share_of
from .denoiser import ComfyDenoiser
from .side_terms import Correction


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One prediction, evaluated at most once per step however many terms ask for it.

    entries: what the model reads, encoded for it. model: None for the sampler's own, with the options of the step.
    sampled: the sampler's own entries whose prediction this is, free in a step where the sampler makes it. bare:
    without the graph's model patches. tolerance: up to which relative difference of the text another prompt is the
    same.
    """

    entries: list[dict]
    model: ComfyDenoiser | None
    sampled: tuple[list[dict], ...] = ()
    bare: bool = False
    tolerance: float = 0.0


@dataclass(frozen=True)
class Strength:
    """The weight of a term at every noise level. sigma_at: the host's percent to sigma."""

    weight: float
    interval: SigmaInterval
    schedule: Schedule | None
    sigma_at: Callable[[float], float]

    def __call__(self, sigma: float) -> float:
        if sigma not in self.interval:
            return 0.0
        return self.weight if self.schedule is None else self.weight * self.schedule(share_of(sigma, self.sigma_at))


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A term made ready for a run.

    Places as in `GuidanceTerm`; mask as cells of the latent. weight_at: its weight at a noise level. correction: of a
    side network, which makes the prediction from the subtrahend's. otherwise: taken as the subtrahend in a step where
    the sampler makes this one and not that.
    """

    weight_at: Strength
    mask: Tensor | None
    projection: Reshape | None
    prediction: Evaluation
    subtrahend: Evaluation
    prompt_place: int | None
    minus_place: int | None
    correction: Correction | None = None
    otherwise: Evaluation | None = None
    every: int = 1
