"""From the inputs of the guidance nodes to a patched MODEL, with every check that can be made before sampling."""

from __future__ import annotations

import logging
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.domains.training_forms import is_adapter
from ....domain_guidance.guidance import Projection
from ..domains.origin import DomainOrigin, base_fingerprint, origin_of
from ..domains.side_network import side_of
from ..node_text import Say, silent, tell, tell_here
from .compatibility import check_pair
from .conditioning import SAME_PROMPT, check_whole, close, same_conditioning
from .idle_inputs import given_mask, tell_idle
from .patch import add_term
from .prompt_branch import PromptTerm
from .side_terms import SideTerm, check_side
from .terms import terms_of

TEXT_FREE = "text-free"
PROMPT = "prompt"
FAST = "fast"
MUCH = 1.25  # as a share of an adapter on the prompt (our choice; 0.75 was best on the toy world)


def apply_domain(
    model: ModelPatcher,
    domain_model: ModelPatcher,
    weight: float,
    *,
    domain_conditioning: list | None = None,
    reference_model: ModelPatcher | None = None,
    reference: str = "auto",
    projection: float = 1.0,
    norm_cap: float = 0.0,
    say: Say = silent,
    **settings,
) -> ModelPatcher:
    """A clone of `model` with one more domain term. At weight 0 the clone is unchanged: sampling stays bit-identical.

    reference: "auto" or "empty", both sides read the empty prompt; "negative", the subtrahend reads the sampler's
    negative prompt; "prompt", both read its positive; "fast", an adapter acts on that prompt itself, as `prompt_branch`
    says. settings: mask, start_percent, end_percent, schedule, control, as in `GuidanceTerm`. say: shows a line at the
    node. Raises ValueError, one sentence, for inputs that do not go together.
    """
    origin, side = origin_of(domain_model), side_of(domain_model)
    others = {"domain_model": None if side else domain_model, "reference_model": reference_model}
    _check(model, others, **settings)
    if reference == FAST:
        unfit = {"reference_model": reference_model, "projection": projection != 1, "norm_cap": norm_cap != 0}
        return _on_prompt(model, domain_model, weight, unfit, say, **settings)
    prompt, minus = _domain_prompts(domain_conditioning, origin, reference)
    if side is None:
        _compare_base(origin, domain_model, model, reference_model)
    else:
        check_side(model, side, reference_model)
    settings = _acting(weight, say, **settings)
    if weight == 0:
        return model.clone()
    shared = {
        "weight": weight,
        "minus": minus,
        "beside": "positive" if reference == PROMPT else "negative",
        "without_negative": None if reference == PROMPT else prompt,
        "projection": _shape(projection, norm_cap),
        **settings,
    }
    if side is None:
        return add_term(model, domain_model, reference_model, prompt=prompt, **shared)
    # Its subtrahend is all that a side network reads, so there the connected empty prompt has to act.
    shared["minus"] = None if minus is None else prompt
    there = reference == "auto" and reference_model is None
    return add_term(model, None, reference_model, SideTerm, side=side, takes_what_is_there=there, prompt=None, **shared)


def _on_prompt(
    model: ModelPatcher,
    adapter: ModelPatcher,
    weight: float,
    unfit: dict[str, Any],
    say: Say,
    mask: Tensor | None = None,
    control: str = "same",
    every: int = 1,
    **when,
) -> ModelPatcher:
    """The adapter on the prompt's own evaluation, at a share. unfit: inputs that cannot act there, and whether set."""
    if side_of(adapter) is not None or adapter.model is not model.model:
        raise ValueError(
            "reference 'fast' lets a LoRA act on your prompt, but domain_model is a network of its own: connect Load "
            "Domain Adapter to domain_model, or set reference to 'auto'."
        )
    if _injected(adapter) - _injected(model):
        raise ValueError(
            "reference 'fast' cannot use a LoRA from a bypass loader: load it with Load Domain Adapter or Load LoRA, "
            "or set reference to 'auto'."
        )
    mask = given_mask(mask, say)
    unfit |= {"mask": mask is not None, "control": control != "same", "every": every != 1}
    if wrong := [name for name, is_set in unfit.items() if is_set]:
        raise ValueError(
            f"With reference 'fast' the domain is part of your prompt's own prediction, so {' and '.join(wrong)} "
            f"cannot act on it: disconnect or reset {'them' if len(wrong) > 1 else 'it'}, or set reference to 'auto'."
        )
    settings = _acting(weight, say, **when)
    if weight == 0:
        return model.clone()
    if weight > MUCH:
        tell(
            say,
            f"With reference 'fast' the weight is the strength of the LoRA on your prompt, and {weight:g} is a lot; "
            "try 0.75.",
        )
    return add_term(model, adapter, None, PromptTerm, weight=weight, prompt=None, minus=None, **settings)


def _injected(model: ModelPatcher) -> set[int]:
    """What the host's own bypass loaders have put on it."""
    return {id(injection) for injections in model.injections.values() for injection in injections}


def apply_term(
    model: ModelPatcher,
    conditioning: list,
    weight: float,
    *,
    term_model: ModelPatcher | None = None,
    minus: list | None = None,
    reference_model: ModelPatcher | None = None,
    projection: float = 1.0,
    norm_cap: float = 0.0,
    say: Say = silent,
    **settings,
) -> ModelPatcher:
    """A clone of `model` with one more term of the general form (arXiv 2312.08195): weight (e_i(c_i) - e_0(empty)).

    term_model: e_i; None is `model`. minus: with it the term is contrastive, weight (e_i(c) - e_i(minus)), unless
    `reference_model` names another model for the second. say, settings: as of `apply_domain`. Raises ValueError, one
    sentence.
    """
    _check(model, {"term_model": term_model, "reference_model": reference_model}, **settings)
    _check_reads_a_prompt(term_model)
    check_whole(conditioning)
    check_whole(minus or [])
    origin = None if term_model is None else origin_of(term_model)
    stored = None if minus is not None or origin is None else origin.empty
    if minus is not None and term_model is reference_model is None and same_conditioning(conditioning, minus):
        tell(say, "Nothing changes, because conditioning and minus are the same prompt.")
    settings = _acting(weight, say, **settings)
    if weight == 0:
        return model.clone()
    return add_term(
        model,
        term_model,
        term_model if reference_model is None and minus is not None else reference_model,
        weight=weight,
        prompt=conditioning,
        minus=minus if stored is None else stored,
        minus_is_empty=stored is not None,
        prompt_place=0,
        minus_place=None if minus is None else 0,
        projection=_shape(projection, norm_cap),
        **settings,
    )


def _acting(weight: float, say: Say, **settings) -> dict[str, Any]:
    """The settings with the mask that is meant; what will do nothing is said."""
    settings["mask"] = given_mask(settings.get("mask"), say)
    start, end = settings.get("start_percent", 0.0), settings.get("end_percent", 1.0)
    tell_idle(weight, settings["mask"], settings.get("schedule"), start, end, say)
    return settings


def _shape(projection: float, norm_cap: float) -> Projection | None:
    shape = Projection(projection, norm_cap)
    return None if shape.is_identity else shape


def _check(
    model: ModelPatcher,
    others: dict[str, ModelPatcher | None],
    start_percent: float = 0.0,
    end_percent: float = 1.0,
    **_,
) -> None:
    _check_interval(start_percent, end_percent)
    for role, other in others.items():
        if other is not None:
            check_pair(model, other, role)
            _check_unguided(other, role)
            _tell_of_side(other, role)


def _check_interval(start: float, end: float) -> None:
    if start >= end:
        raise ValueError(
            f"start_percent is {start:g} and end_percent {end:g}, so the guidance would never act: set "
            "start_percent below end_percent."
        )


def _check_unguided(model: ModelPatcher, role: str) -> None:
    if terms_of(model):
        raise ValueError(
            f"{role} has domain guidance applied, which acts on a sampler and not inside a term: connect {role} "
            "from before that Apply Domain Guidance, and chain the nodes on model instead."
        )


def _tell_of_side(model: ModelPatcher, role: str) -> None:
    # Said and not refused: as a base it is right, and graphs that use it so keep working.
    if role == "reference_model" and side_of(model) is not None:
        tell_here(
            "reference_model comes from Load Side Network and counts as the base without its domain; connect the "
            "model from before Load Side Network, which draws the same."
        )


def _check_reads_a_prompt(term_model: ModelPatcher | None) -> None:
    if term_model is not None and side_of(term_model) is not None:
        raise ValueError(
            "term_model comes from Load Side Network, which corrects a prediction and reads no prompt: connect it to "
            "domain_model of Apply Domain Guidance instead."
        )


def _domain_prompts(
    conditioning: list | None, origin: DomainOrigin | None, reference: str
) -> tuple[list | None, list | None]:
    """What the domain and what its subtrahend read; None is the sampler's prompt in that place."""
    if reference == PROMPT:
        _warn_of_text_free(origin)
        return None, None
    if conditioning is None and origin is None:
        raise ValueError(
            "domain_model has no stored empty prompt, because it was not loaded with Load Domain UNet or Load "
            "Domain Adapter: connect to domain_conditioning a CLIP Text Encode with no text or, with a model that "
            "reads no text, the negative output of its own conditioning node."
        )
    empty = conditioning if origin is None or _mends(conditioning, origin.empty) else origin.empty
    return empty if conditioning is None else conditioning, None if reference == "negative" else empty


def _mends(conditioning: list | None, stored: list) -> bool:
    """Whether it is the stored prompt with more beside its embedding, as of a file from before all of that was kept."""
    if conditioning is None or len(conditioning) != 1:
        return False
    [[given, beside]], [[kept, rest]] = conditioning, stored
    return not beside.keys() <= rest.keys() and close(given, kept, SAME_PROMPT)


def _warn_of_text_free(origin: DomainOrigin | None) -> None:
    if origin is not None and origin.card.form == TEXT_FREE:
        tell_here(
            "'%s' is text-free and cannot read your prompt, so with reference 'prompt' it weakens "
            "the prompt as much as it adds of the domain; use reference 'auto', or a domain adapter.",
            origin.name,
        )


def _compare_base(
    origin: DomainOrigin | None, domain: ModelPatcher, model: ModelPatcher, reference_model: ModelPatcher | None
) -> None:
    base = model if reference_model is None else reference_model
    if origin is None or domain.model is base.model:  # an adapter's term is its own difference on any base
        return
    # An adapter is a difference from whatever it sits on, whichever model it was trained on.
    expected = base_fingerprint(domain) if is_adapter(origin.card) else origin.card.base_fingerprint
    found = base_fingerprint(base)
    if found and found != expected:
        tell_here(
            "'%s' was trained from a different base (%s %s) than the connected model; connect that base "
            "to reference_model, or its difference from your model becomes part of the domain.",
            origin.name,
            origin.card.base_name or "fingerprint",
            expected,
        )
    elif base.patches and reference_model is None:
        tell_here(
            "The model has a LoRA on it that '%s' was not trained with, so the domain weakens "
            "that LoRA a little; connect the model from before the LoRA to reference_model to keep its full effect.",
            origin.name,
            level=logging.INFO,
        )
