"""From the inputs of Apply Domain Guidance to a patched MODEL, with every check that can be made before sampling."""

from __future__ import annotations

import logging

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...domain_guidance.guidance import Projection
from .compatibility import check_pair
from .guidance_patch import add_term
from .origin import DomainOrigin, base_fingerprint, origin_of
from .terms import terms_of


def apply_domain(
    model: ModelPatcher,
    domain_model: ModelPatcher,
    weight: float,
    *,
    domain_conditioning: list | None = None,
    reference_model: ModelPatcher | None = None,
    mask: Tensor | None = None,
    reference: str = "auto",
    start_percent: float = 0.0,
    end_percent: float = 1.0,
    control: str = "same",
    projection: float = 1.0,
    norm_cap: float = 0.0,
) -> ModelPatcher:
    """A clone of `model` with one more domain term. At weight 0 the clone is unchanged: sampling stays bit-identical.

    Raises ValueError, one sentence, for inputs that do not go together.
    """
    _check_interval(start_percent, end_percent)
    for role, other in (("domain_model", domain_model), ("reference_model", reference_model)):
        if other is not None:
            check_pair(model, other, role)
            _check_unguided(other, role)
    origin = origin_of(domain_model)
    prompt = _domain_prompt(domain_conditioning, origin)
    _compare_base(origin, model, reference_model)
    if weight == 0:
        return model.clone()
    shape = Projection(projection, norm_cap)
    return add_term(
        model, domain_model, reference_model,
        weight=weight, prompt=prompt, empty=prompt if origin is None else origin.empty, reference=reference, start_percent=start_percent, end_percent=end_percent,
        control=control, projection=None if shape.is_identity else shape, mask=mask,
    )  # fmt: skip


def _check_interval(start: float, end: float) -> None:
    if start >= end:
        raise ValueError(
            f"start_percent is {start:g} and end_percent {end:g}, so the domain would never act: set start_percent below end_percent."
        )


def _check_unguided(model: ModelPatcher, role: str) -> None:
    if terms_of(model):
        raise ValueError(
            f"{role} carries domain guidance itself, which acts on a sampler and not inside a term: connect the {role} "
            "from before that Apply Domain Guidance, and chain the nodes on model instead."
        )


def _domain_prompt(conditioning: list | None, origin: DomainOrigin | None) -> list:
    if conditioning is not None:
        return conditioning
    if origin is None:
        raise ValueError(
            "domain_model brings no empty prompt, because it was not loaded by Load Domain UNet: connect a CLIP Text Encode "
            "with no text to domain_conditioning."
        )
    return origin.empty


def _compare_base(origin: DomainOrigin | None, model: ModelPatcher, reference_model: ModelPatcher | None) -> None:
    if origin is None:
        return
    base = model if reference_model is None else reference_model
    expected = origin.card.base_fingerprint
    if base_fingerprint(base) != expected:
        logging.warning(
            "Domain Guidance: '%s' was trained from another base (%s %s) than the connected model; connect that base to "
            "reference_model, or its difference from your model becomes part of the domain.",
            origin.name, origin.card.base_name or "fingerprint", expected,
        )  # fmt: skip
    elif base.patches and reference_model is None:
        logging.info(
            "Domain Guidance: the model carries a LoRA that '%s' does not know, so the domain pulls away from it a little; "
            "connect the model from before the LoRA to reference_model to keep it whole.", origin.name,
        )  # fmt: skip
