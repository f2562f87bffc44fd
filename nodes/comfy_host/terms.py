"""The terms that a MODEL carries: what the Apply nodes set, before any sampling."""

from __future__ import annotations

from dataclasses import dataclass

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...domain_guidance.guidance import Projection

KEY = "domain_guidance"


@dataclass(frozen=True)
class ModelSource:
    """Where a term's model is found at sampling time.

    patcher: the MODEL as it was connected. position: index in the additional models under `KEY` of the one whose weights it
    shares, which is itself if it was the first; None is the sampler's own MODEL.
    """

    patcher: ModelPatcher
    position: int | None = None


@dataclass(frozen=True)
class DomainTerm:
    """One Apply node's settings.

    prompt: what the domain model reads, host conditioning. empty: the empty prompt that the subtrahend reads; the same,
    unless the user gave a domain file another prompt. start_percent, end_percent: share of the sampling, 0 to 1.
    reference_model: None is the sampler's own MODEL.
    """

    weight: float
    prompt: list
    empty: list
    domain: ModelSource
    reference_model: ModelSource | None = None
    reference: str = "auto"
    start_percent: float = 0.0
    end_percent: float = 1.0
    control: str = "same"
    projection: Projection | None = None
    mask: Tensor | None = None


def terms_of(model: ModelPatcher) -> tuple[DomainTerm, ...]:
    return model.get_attachment(KEY) or ()
