"""The terms that a MODEL carries: what the guidance nodes set, before any sampling."""

from __future__ import annotations

from dataclasses import dataclass

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.guidance import Reshape, Schedule

KEY = "domain_guidance"
DRAWS_NOTHING = (
    f"{KEY}.draws_nothing"  # on a MODEL that is only asked for its predictions: advice on pictures would mislead
)
# On a MODEL of a sweep or a report: whether it burns is seen there, or measured.
JUDGED = f"{KEY}.judged"


@dataclass(frozen=True)
class ModelSource:
    """Where a term's model is found at sampling time.

    patcher: the MODEL as it was connected. position: index in the additional models under `KEY` of the one whose
    weights it shares, which is itself if it was the first; None is the sampler's own MODEL.
    """

    patcher: ModelPatcher
    position: int | None = None


@dataclass(frozen=True)
class GuidanceTerm:
    """One node's settings: weight * schedule * mask * (D_model(prompt) - D_reference_model(minus)).

    model, reference_model: None is the sampler's own MODEL. prompt: what model reads, host conditioning; None is the
    sampler's positive prompt. minus: what the subtrahend reads; None is the sampler's prompt in that place. beside:
    whose areas, masks, controls and sizes both sides have, the sampler's "negative" or its "positive".
    minus_is_empty: minus is the empty prompt, which two text encoders may round differently and for which the sampler's
    negative may stand in; otherwise it is a prompt of the user's own. prompt_place, minus_place: the index under which
    adapters such as IP-Adapter see a side, 0 as the sampler's positive, 1 as its negative; None for minus is as it
    comes, for prompt as minus.
    start_percent, end_percent: share of the sampling, 0 to 1. without_negative: what stands in for minus where it is
    None and the guider has no negative prompt; None is the guider's only prompt. every: evaluated on every n-th step
    and held on those between.
    """

    weight: float
    prompt: list | None
    minus: list | None
    model: ModelSource | None = None
    reference_model: ModelSource | None = None
    beside: str = "negative"
    minus_is_empty: bool = True
    prompt_place: int | None = None
    minus_place: int | None = None
    start_percent: float = 0.0
    end_percent: float = 1.0
    schedule: Schedule | None = None
    control: str = "same"
    projection: Reshape | None = None
    mask: Tensor | None = None
    without_negative: list | None = None
    every: int = 1

    @property
    def subtracts_unconditional(self) -> bool:
        """Whether the subtrahend reads no prompt of the user's, as in the general form (arXiv 2312.08195)."""
        return self.beside == "negative" and (self.minus is None or self.minus_is_empty)


def terms_of(model: ModelPatcher) -> tuple[GuidanceTerm, ...]:
    return model.get_attachment(KEY) or ()
