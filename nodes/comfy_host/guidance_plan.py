"""What a run will evaluate: for every term its domain model, the conditions it sees, and where its subtrahend comes from.

Made once, when a sampling run begins and the host has processed the sampler's prompts. The rule behind all of it: domain
prediction and subtrahend may differ by the weights alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import comfy.samplers
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...domain_guidance.guidance import Projection, SigmaInterval
from . import conditioning as cond
from .compatibility import check_noising, same_architecture, text_width
from .denoiser import ComfyDenoiser, has_patches, inherit_patches, own_options, without_patches
from .terms import DomainTerm, ModelSource
from .weight_difference import difference

# The host's names of the conditions that a guider treats as "no prompt", best first. PerpNeg's negative is a prompt.
UNCONDITIONAL = ("empty_negative_prompt", "negative", "positive")


@dataclass(frozen=True)
class Subtrahend:
    """Where a reference prediction comes from.

    sampled: the sampler's own entries whose prediction serves, free. entries: what to evaluate in a step where the sampler
    evaluated none of those. model: on which model, None for the sampler's own. bare: without the graph's model patches.
    """

    entries: list[dict]
    sampled: tuple[list[dict], ...]
    model: ComfyDenoiser | None
    bare: bool


@dataclass(frozen=True)
class Branch:
    """A term made ready for a run. entries: what the domain model sees, encoded for it."""

    weight: float
    interval: SigmaInterval
    mask: Tensor | None
    projection: Projection | None
    domain: ComfyDenoiser
    entries: list[dict]
    subtrahend: Subtrahend


class GuidancePlan:
    """guider: the running guider. models: the patcher's additional models. options: the run's model_options.
    encoding: what the host encodes conditions with (noise, latent_image, denoise_mask, seed)."""

    def __init__(self, guider, models: list[ModelPatcher], options: dict[str, Any], sigmas: Tensor, **encoding):
        self.base: BaseModel = guider.inner_model
        self.patcher: ModelPatcher = guider.model_patcher
        self.prompts: dict[str, list[dict]] = guider.conds
        self.models, self.options, self.sigmas, self.encoding = models, options, sigmas, encoding
        for model in models:
            check_noising(self.patcher, model, "domain_model")

    def branches(self, terms: tuple[DomainTerm, ...]) -> list[Branch]:
        """Terms with the same subtrahend share one object, so that it is evaluated once per step."""
        branches: list[Branch] = []
        for term in terms:
            branches.append(self._branch(term, [branch.subtrahend for branch in branches]))
        return branches

    def _branch(self, term: DomainTerm, known: list[Subtrahend]) -> Branch:
        if term.mask is not None:
            check_mask(term.mask, self.encoding["noise"])
        cond.check_pooled(self.template, term.prompt)
        bare = self._must_go_bare(term)
        # Without a reference model the subtrahend is the sampler's own MODEL, LoRAs included, and so the domain sits on it.
        domain = self._denoiser(term.domain, bare, add_only=term.reference_model is None)
        cond.check_width(term.prompt, self._text_width(domain.model))
        self._warn_of_nothing(term, domain)
        entries = self._encoded(cond.mirror(self._template(term, bare), term.prompt), domain.model)
        subtrahend = self._subtrahend(term, bare)
        shared = next((other for other in known if _interchangeable(other, subtrahend)), subtrahend)
        return Branch(term.weight, self._interval(term), term.mask, term.projection, domain, entries, shared)

    @cached_property
    def template(self) -> list[dict]:
        """The prompt whose structure the domain branch mirrors: the guider's unconditional one."""
        return next(self.prompts[name] for name in UNCONDITIONAL if self.prompts.get(name))

    def _template(self, term: DomainTerm, bare: bool) -> list[dict]:
        return cond.without_control(self.template) if bare or term.control == "none" else self.template

    def _interval(self, term: DomainTerm) -> SigmaInterval:
        # Read here and not in the node: ModelSampling nodes further down change what a percent means.
        to_sigma = self.base.model_sampling.percent_to_sigma
        return SigmaInterval(float(to_sigma(term.start_percent)), float(to_sigma(term.end_percent)))

    def _must_go_bare(self, term: DomainTerm) -> bool:
        """Patches and controls are made for one architecture. Where the domain's is another, both sides do without."""
        if all(same_architecture(self.base, self._model(source)) for source in (term.domain, term.reference_model)):
            return False
        bare = has_patches(self.options) or (term.control == "same" and cond.has_control(self.template))
        if bare:
            logging.warning(
                "Domain Guidance: domain_model has another architecture than model, so the model patches and ControlNets of "
                "this graph act on the prompt alone, not on the domain term; use a domain trained from this model family."
            )
        return bare

    def _warn_of_nothing(self, term: DomainTerm, domain: ComfyDenoiser) -> None:
        untouched = domain.model is self.base and not domain.difference.layers and term.reference_model is None
        if untouched and term.reference != "negative" and cond.same_conditioning(term.prompt, term.empty):
            logging.warning(
                "Domain Guidance: domain_model is the checkpoint of model with no LoRA that model lacks, so there is no domain "
                "to draw in; connect a domain file, or put the domain's LoRA on domain_model."
            )

    def _subtrahend(self, term: DomainTerm, bare: bool) -> Subtrahend:
        template = self._template(term, bare)
        model = None if term.reference_model is None else self._denoiser(term.reference_model, bare)
        own = model is None or (model.model is self.base and not model.difference.layers)
        free = own and not bare and cond.has_control(template) == cond.has_control(self.template)
        model = None if own else model
        if term.reference == "negative" or self._reads_other_text(term):
            entries = template if own else self._encoded(template, model.model)
            return Subtrahend(entries, (template,) if free else (), model, bare)
        entries = self._encoded(cond.mirror(template, term.empty), self.base if own else model.model)
        whole = self._encoded(cond.mirror(template, term.empty, collapse=False), self.base) if free else []
        sampled = tuple(prompt for prompt in self.prompts.values() if free and cond.is_evaluation(prompt, whole))
        return Subtrahend(entries, sampled, model, bare)

    def _reads_other_text(self, term: DomainTerm) -> bool:
        """A domain of another family brings an empty prompt that the base cannot read; the user's own stands in."""
        expected = self._text_width(self._model(term.reference_model))
        reads_other = expected is not None and term.empty[0][0].shape[-1] != expected
        if reads_other:
            logging.warning(
                "Domain Guidance: model cannot read the domain's empty prompt (another text encoder), so your negative prompt "
                "is subtracted instead; leave the negative prompt empty for a pure domain term."
            )
        return reads_other

    def _text_width(self, model: BaseModel) -> int | None:
        return cond.width(self.template) if same_architecture(self.base, model) else text_width(model)

    def _encoded(self, entries: list[dict], model: BaseModel) -> list[dict]:
        fresh = [{**entry, "model_conds": {}} for entry in entries]
        noise = self.encoding["noise"]
        return comfy.samplers.encode_model_conds(
            model.extra_conds, fresh, device=noise.device, prompt_type="negative", latent_shapes=[noise.shape],
            **self.encoding,
        )  # fmt: skip

    def _model(self, source: ModelSource | None) -> BaseModel:
        return self.base if source is None or source.position is None else self.models[source.position].model

    def _denoiser(self, source: ModelSource, bare: bool, *, add_only: bool = False) -> ComfyDenoiser:
        on_base = source.position is None
        loaded = self.patcher if on_base else self.models[source.position]
        options = own_options(source.patcher if on_base else loaded, self.sigmas)
        options = without_patches(options) if bare else inherit_patches(options, self.options)
        return ComfyDenoiser(self._model(source), options, difference(source.patcher, loaded, add_only=on_base and add_only))


def _interchangeable(a: Subtrahend, b: Subtrahend) -> bool:
    """Whether two terms subtract the sampler's own model under one prompt and structure."""
    if a.model is not None or b.model is not None or a.bare != b.bare:
        return False
    return a.entries is b.entries or cond.is_evaluation(a.entries, b.entries)


def check_mask(mask: Tensor, latent: Tensor) -> None:
    """Raises ValueError for a mask that is not of the picture: another aspect ratio, or another number of pictures."""
    (height, width), (rows, columns) = mask.shape[-2:], latent.shape[-2:]
    # One latent cell of slack: pictures are cropped to whole cells.
    if abs(height * columns - width * rows) > max(height, width):
        raise ValueError(
            f"The mask of Apply Domain Guidance is {width}x{height}, the picture being sampled has {columns}x{rows} latent "
            "cells: give a mask with the picture's aspect ratio."
        )
    count = mask.shape[0] if mask.ndim > 2 else 1
    if count not in (1, latent.shape[0]):
        raise ValueError(
            f"The mask of Apply Domain Guidance holds {count} masks for {latent.shape[0]} pictures: give one for all, or one each."
        )
