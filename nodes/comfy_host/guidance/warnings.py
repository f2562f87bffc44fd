"""What a user is told when a run begins: one line each, and sampling goes on."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.guidance import total_weight
from ..domains.origin import base_fingerprint, origin_of
from ..node_text import tell_here
from .branches import Branch
from .conditioning import same_conditioning
from .denoiser import ComfyDenoiser
from .terms import GuidanceTerm

BURN = 8.0


def warn_of_burn(cfg: float, branches: list[Branch], sigmas: Tensor) -> None:
    """Warn where cfg and weights add up to more than pictures usually bear.

    sigmas: the run's levels.
    """
    pull = cfg + max((_pull(branches, float(sigma)) for sigma in sigmas[:-1]), default=0.0)
    if pull > BURN:
        tell_here(
            "cfg %g plus the domain weight makes %g; above %g, images tend to burn. Try cfg 3 with weight 2.",
            cfg,
            pull,
            BURN,
        )


def warn_of_fresh_noise(sampler, branches: list[Branch]) -> None:
    """Warn where a term is held while the sampler gives the picture new noise. sampler: the host's own object."""
    every = max((branch.every for branch in branches), default=1)
    if every > 1 and _adds_noise(getattr(sampler, "sampler_function", None), getattr(sampler, "extra_options", {})):
        tell_here(
            "The domain is held for %d steps at a time, but this sampler may add new noise at each step, which a held "
            "domain has not seen; if the picture looks rough, set every to 1 or use a sampler such as dpmpp_2m.",
            every,
        )


def say_nothing_is_held(branches: list[Branch]) -> None:
    """Say where a term that is to be held is asked for its predictions alone, at random levels one after another."""
    every = max((branch.every for branch in branches), default=1)
    if every > 1:
        tell_here(
            "every is %d on the connected model, but here the domain is evaluated each time, because noise levels come "
            "in random order and nothing can be held from one to the next.",
            every,
            level=logging.INFO,
        )


def _adds_noise(sampler_function, options: dict) -> bool:
    """Whether it takes a source of noise whose amount is not 0, as k-diffusion's samplers say it."""
    parameters = {} if sampler_function is None else inspect.signature(sampler_function).parameters
    amounts = (options.get(name, parameters[name].default) for name in ("eta", "s_noise") if name in parameters)
    return "noise_sampler" in parameters and all(amounts)


def _pull(branches: list[Branch], sigma: float) -> float:
    """What all that pulls adds up to on one cell of the latent; what pushes away does not burn."""
    return total_weight((max(branch.weight_at(sigma), 0.0), branch.mask) for branch in branches)


def warn_of_distilled(guider, terms: Sequence[GuidanceTerm], branches: list[Branch]) -> None:
    """A prompt at cfg 1 is how distilled models are sampled.

    A whole network that was not trained from that very model then differs from it by the distillation, too.
    """
    if getattr(guider, "cfg", 1.0) != 1.0:
        return
    for term, branch in zip(terms, branches):
        unprompted = any(prompt is guider.conds.get("positive") for prompt in branch.subtrahend.sampled)
        if not unprompted and term.beside == "negative" and _is_foreign(term, guider.model_patcher, branch):
            tell_here(
                "cfg 1 with a prompt is how distilled models (Turbo, Lightning, LCM) are sampled, "
                "but the domain is a whole network trained from a different base, so the term undoes the distillation; "
                "use a side network at weight 1 (one trained on the undistilled model works too), or connect the base "
                "that the domain was trained from to reference_model."
            )
            return


def _is_foreign(term: GuidanceTerm, base: ModelPatcher, branch: Branch) -> bool:
    """Whether the term's model is a whole network that was not trained from the sampler's."""
    if (
        term.reference_model is not None
        or term.model is None
        or branch.prediction.model is None
        or branch.prediction.model.model is base.model
    ):
        return False
    origin = origin_of(term.model.patcher)
    return origin is None or bool(base.patches) or origin.card.base_fingerprint != base_fingerprint(base)


def warn_of_bare_term() -> None:
    tell_here(
        "domain_model has a different architecture from model, so the model patches and "
        "ControlNets of this graph act only on the prompt, not on the domain term; use a domain trained from this "
        "model family."
    )


def warn_of_other_text() -> None:
    tell_here(
        "model cannot read the domain's stored empty prompt, which is from another text encoder, "
        "so your negative prompt is subtracted instead; leave the negative prompt empty for a pure domain term."
    )


def say_empty_stands_in() -> None:
    tell_here(
        "This guider has no negative prompt, so reference 'negative' subtracts the empty prompt, as 'empty' does.",
        level=logging.INFO,
    )


def warn_of_only_prompt() -> None:
    tell_here(
        "This guider has no negative prompt, so the term subtracts what your own prompt says and "
        "takes its place as the weight grows; use CFGGuider with a negative prompt, or connect one to minus, "
        "to keep it."
    )


def warn_of_idle(strengths: Sequence[Callable[[float], float]], weights: Sequence[float], sigmas: Tensor) -> None:
    """Terms that act on no step of this run, as where image to image begins after end_percent.

    strengths: the weight of each term at a noise level. weights: as they were set. sigmas: the run's levels.
    """
    levels = [float(sigma) for sigma in sigmas[:-1]]
    for strength, weight in zip(strengths, weights):
        if levels and weight != 0 and all(strength(level) == 0 for level in levels):
            tell_here(
                "A term of weight %g acts on none of the %d steps of this sampling, because of its "
                "start_percent, end_percent or schedule; with a denoise below 1 only the last part of the range is "
                "sampled, so raise end_percent or the number of steps.",
                weight,
                len(levels),
            )


def warn_of_no_adapter() -> None:
    tell_here(
        "domain_model is the same as model, with no LoRA that model lacks, so nothing acts on your prompt; connect "
        "Load Domain Adapter to domain_model."
    )


def warn_of_nothing(term: GuidanceTerm, domain: ComfyDenoiser) -> None:
    """Warn where a domain has nothing that the sampler's model lacks.

    domain: on the weights of the sampler's model.
    """
    same_prompt = term.prompt is None or (term.minus is not None and same_conditioning(term.prompt, term.minus))
    if same_prompt and domain.difference.is_nothing and term.reference_model is None:
        tell_here(
            "domain_model is the same checkpoint as model, with no LoRA that model lacks, so "
            "there is no domain to draw in; connect a domain file, or put the domain's LoRA on domain_model."
        )
