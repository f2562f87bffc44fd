"""Looking on while a MODEL is sampled under guidance, without changing what it samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.guidance import Term

OBSERVER = "domain_guidance.observer"


@dataclass(frozen=True)
class GuidedStep:
    """One evaluation by the sampler. All tensors are denoised predictions or latents, [B, C, ...], of the host's scale.

    sigma: the noise level. x: the noisy latent. sampler: what the guider made of it, before any term. terms: of every
    term of the MODEL, in the order in which it was applied; one that does not act at this sigma has weight 0. moved: of
    terms that were held from an earlier step, how far they have moved since, over their length.
    """

    sigma: float
    x: Tensor
    sampler: Tensor
    terms: tuple[Term, ...]
    moved: tuple[float, ...] = ()


Observer = Callable[[GuidedStep], None]


def observed(model: ModelPatcher, observer: Observer) -> ModelPatcher:
    """A clone whose sampling calls `observer` once per guided evaluation.

    Terms outside of their range are evaluated, too.
    """
    clone = model.clone()
    clone.set_attachments(OBSERVER, observer)
    return clone
