"""What a run will evaluate for every term, and which of it the sampler evaluates anyway.

Made once, when a sampling run begins and the host has processed the sampler's prompts. The rule behind a domain's term:
its two sides may differ by the weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import comfy.samplers
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.guidance import SigmaInterval
from ..packed_latents import packed_shapes
from . import conditioning as cond
from .branches import Branch, Evaluation, Strength
from .compatibility import check_noising, same_architecture, text_width
from .denoiser import ComfyDenoiser, cut_alike, has_patches, inherit_patches, own_options, without_patches
from .masks import latent_mask
from .prompt_branch import PromptBranch, PromptTerm
from .side_terms import SideTerm, correction_of
from .terms import GuidanceTerm, ModelSource
from .warnings import (
    say_empty_stands_in,
    warn_of_bare_term,
    warn_of_no_adapter,
    warn_of_nothing,
    warn_of_only_prompt,
    warn_of_other_text,
)
from .weight_difference import WeightDifference, difference

# The host's names of the conditions that a guider treats as "no prompt", best first. PerpNeg's negative is a prompt.
UNCONDITIONAL = ("empty_negative_prompt", "negative", "positive")


class GuidancePlan:
    """The evaluations of one sampling run, shared between its terms where they are the same.

    guider: the running guider. models: the patcher's additional models. options: the run's model_options. encoding:
    what the host encodes conditions with (noise, latent_image, denoise_mask, seed). controls: the ControlNets that only
    terms have, once `branches` has been called.
    """

    def __init__(self, guider, models: list[ModelPatcher], options: dict[str, Any], sigmas: Tensor, **encoding):
        self.guider, self.base = guider, guider.inner_model
        self.patcher: ModelPatcher = guider.model_patcher
        self.prompts: dict[str, list[dict]] = guider.conds
        self.models, self.options, self.sigmas, self.encoding = models, options, sigmas, encoding
        self.controls: list = []
        self._denoisers: dict[tuple, ComfyDenoiser] = {}
        self._evaluations: list[Evaluation] = []
        self.shapes = packed_shapes(self.base, self.prompts) or [encoding["noise"].shape]
        for model in models:
            check_noising(self.patcher, model, "domain_model")
            model.model.latent_shapes = self.shapes  # as the host's sampler says it to its own model

    def branches(self, terms: Sequence[GuidanceTerm]) -> list[Branch]:
        self._prepare_controls(terms)
        return [self._branch(term) for term in terms]

    def prompt_branches(self, terms: Sequence[PromptTerm]) -> list[PromptBranch]:
        return [PromptBranch(self._on_prompt(term), self._strength(term)) for term in terms]

    def _on_prompt(self, term: PromptTerm) -> WeightDifference:
        assert term.model is not None  # `apply_domain` sets it
        found = difference(term.model.patcher, self.patcher, add_only=True)
        if found.is_nothing:
            warn_of_no_adapter()
        return found

    def _strength(self, term: GuidanceTerm) -> Strength:
        return Strength(term.weight, self._interval(term), term.schedule, self.base.model_sampling.percent_to_sigma)

    def _prepare_controls(self, terms: Sequence[GuidanceTerm]) -> None:
        """Prepare the ControlNets of the terms' own prompts; the host prepares those of the sampler's."""
        ready = {id(entry.get("control")) for prompt in self.prompts.values() for entry in prompt}
        for term in terms:
            new = [control for control in cond.controls_of(term.prompt, term.minus) if id(control) not in ready]
            comfy.samplers.pre_run_control(self._model(term.model), [{"control": control} for control in new])
            ready |= set(map(id, new))
            self.controls += new

    def _branch(self, term: GuidanceTerm) -> Branch:
        bare = self._must_go_bare(term)
        subtrahend = self._shared(self._subtrahend(term, bare))
        correction = correction_of(term, self.encoding["noise"], self.base.model_sampling, self.shapes)
        return Branch(
            weight_at=self._strength(term),
            mask=self._mask(term),
            projection=term.projection,
            prediction=subtrahend if correction else self._shared(self._prediction(term, bare)),
            subtrahend=subtrahend,
            prompt_place=term.prompt_place,
            minus_place=term.minus_place,
            correction=correction,
            otherwise=self._otherwise(term, bare),
            every=term.every,
        )

    def _mask(self, term: GuidanceTerm) -> Tensor | None:
        if term.mask is None:
            return None
        return latent_mask(term.mask, self.encoding["noise"], self.shapes, self.base.latent_format)

    def _otherwise(self, term: GuidanceTerm, bare: bool) -> Evaluation | None:
        """The prompt's own prediction, for a side network that takes what is there, if it sees the term's controls."""
        if not isinstance(term, SideTerm) or not term.takes_what_is_there or bare or term.control == "none":
            return None
        return self._shared(self._of_template(self.prompts.get("positive", self.template), None, bare, "positive"))

    @cached_property
    def template(self) -> list[dict]:
        """The prompt whose structure a term mirrors by default: the guider's unconditional one."""
        return next(self.prompts[name] for name in UNCONDITIONAL if self.prompts.get(name))

    def _template(self, term: GuidanceTerm, bare: bool) -> list[dict]:
        positive = self.prompts.get("positive", self.template)
        entries = positive if term.beside == "positive" else self.template
        if self._samples_positive_alone and term.prompt is not None and term.minus is not None:
            # References and Flux's guidance are connected to the prompt that is sampled, which at cfg 1 is this one.
            entries = cond.with_inputs_of(entries, positive)
        if self._model(term.model) is not self.base or self._model(term.reference_model) is not self.base:
            entries = cond.without("hooks", entries)  # the host has tied them to the weights of the sampler's model
        return cond.without("control", entries) if bare or term.control == "none" else entries

    @property
    def _samples_positive_alone(self) -> bool:
        whole = self.options.get("disable_cfg1_optimization", False)
        return getattr(self.guider, "cfg", None) == 1.0 and not whole and bool(self.prompts.get("positive"))

    def _interval(self, term: GuidanceTerm) -> SigmaInterval:
        # Read here and not in the node: ModelSampling nodes further down change what a percent means.
        to_sigma = self.base.model_sampling.percent_to_sigma
        # A flow model's first level may round to just above the 1 that is its percent 0.
        start = float(to_sigma(term.start_percent)) if term.start_percent > 0 else math.inf
        return SigmaInterval(start, float(to_sigma(term.end_percent)))

    def _must_go_bare(self, term: GuidanceTerm) -> bool:
        """Patches and controls are made for one architecture. Where the domain's is another, both sides do without."""
        if all(same_architecture(self.base, self._model(source)) for source in (term.model, term.reference_model)):
            return False
        bare = has_patches(self.options) or (term.control == "same" and cond.has_control(self.template))
        if bare:
            warn_of_bare_term()
        return bare

    def _prediction(self, term: GuidanceTerm, bare: bool) -> Evaluation:
        template = self._template(term, bare)
        # Without a reference model the subtrahend is the sampler's own MODEL, LoRAs included, and so the domain sits on
        # it.
        model = None if term.model is None else self._denoiser(term.model, bare, add_only=term.reference_model is None)
        if model is not None and model.model is self.base:
            warn_of_nothing(term, model)
        if term.prompt is None:
            return self._of_template(template, model, bare, term.beside)
        tolerance = cond.SAME_PROMPT if term.minus_is_empty and term.prompt is term.minus else 0.0
        return self._of_prompt(template, term.prompt, model, bare, tolerance)

    def _subtrahend(self, term: GuidanceTerm, bare: bool) -> Evaluation:
        template = self._template(term, bare)
        model = None if term.reference_model is None else self._denoiser(term.reference_model, bare)
        if model is not None and model.model is self.base and model.difference.is_nothing:
            model = None
        minus = self._minus(term)
        if minus is None or (term.minus_is_empty and self._reads_other_text(term, minus)):
            if term.beside == "negative" and not self._has_negative:
                warn_of_only_prompt()
            return self._of_template(template, model, bare, term.beside)
        return self._of_prompt(template, minus, model, bare, cond.SAME_PROMPT if term.minus_is_empty else 0.0)

    def _minus(self, term: GuidanceTerm) -> list | None:
        """The prompt that the subtrahend reads; None is the sampler's."""
        if term.minus is not None or term.without_negative is None or self._has_negative:
            return term.minus
        say_empty_stands_in()
        return term.without_negative

    @property
    def _has_negative(self) -> bool:
        return any(self.prompts.get(name) for name in UNCONDITIONAL if name != "positive")

    def _of_template(self, template: list[dict], model: ComfyDenoiser | None, bare: bool, kind: str) -> Evaluation:
        """What `model` says of the sampler's own prompt. kind: its name in the host, which some networks read."""
        if model is None:
            sampled = () if bare else tuple(prompt for prompt in self.prompts.values() if prompt is template)
            return Evaluation(template, None, sampled, bare)
        cond.check_width(cond.width(template), self._text_width(model.model))
        return Evaluation(self._encoded(cond.again(template, kind), model.model, model), model, (), bare)

    def _of_prompt(
        self, template: list[dict], prompt: list, model: ComfyDenoiser | None, bare: bool, tolerance: float
    ) -> Evaluation:
        """What `model` says of `prompt`, beside everything else that the sampler's `template` has."""
        network = self.base if model is None else model.model
        cond.check_prompt(self.template, prompt, self._text_width(network))
        entries = self._encoded(cond.mirror(template, prompt), network, model)
        if model is not None or bare:
            return Evaluation(entries, model, (), bare, tolerance)
        whole = self._encoded(cond.mirror(template, prompt, collapse=False), network)
        sampled = tuple(own for own in self.prompts.values() if cond.is_evaluation(own, whole, tolerance))
        return Evaluation(entries, None, sampled, bare, tolerance)

    def _shared(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation that another term asks for already, if it is the same."""
        shared = next((other for other in self._evaluations if _same(other, evaluation)), evaluation)
        self._evaluations.append(shared)
        return shared

    def _reads_other_text(self, term: GuidanceTerm, minus: list) -> bool:
        """A domain of another family brings an empty prompt that the base cannot read; the user's own stands in."""
        expected, width = self._text_width(self._model(term.reference_model)), minus[0][0].shape[-1]
        if expected not in (None, width):
            warn_of_other_text()
        return expected not in (None, width)

    def _text_width(self, model: BaseModel) -> int | None:
        return cond.width(self.template) if same_architecture(self.base, model) else text_width(model)

    def _encoded(self, entries: list[dict], model: BaseModel, asked: ComfyDenoiser | None = None) -> list[dict]:
        fresh = [{**entry, "model_conds": {}} for entry in entries]
        noise = self.encoding["noise"]
        # Some networks have a part of their own that reads the text here, and a LoRA may be on it, too (Anima).
        with nullcontext() if asked is None else asked.difference.applied(model):
            return comfy.samplers.encode_model_conds(
                model.extra_conds,
                fresh,
                device=noise.device,
                prompt_type="negative",
                latent_shapes=self.shapes,
                **self.encoding,
            )

    def _model(self, source: ModelSource | None) -> BaseModel:
        return self.base if source is None or source.position is None else self.models[source.position].model

    def _denoiser(self, source: ModelSource, bare: bool, *, add_only: bool = False) -> ComfyDenoiser:
        """One object per model as it was connected, by which terms know that they ask the same one."""
        on_base = source.position is None
        key = (id(source.patcher), source.position, bare, on_base and add_only)
        if key not in self._denoisers:
            loaded = self.patcher if source.position is None else self.models[source.position]
            options = cut_alike(own_options(source.patcher if on_base else loaded, self.sigmas), self.options)
            options = without_patches(options) if bare else inherit_patches(options, self.options)
            missing = difference(source.patcher, loaded, add_only=on_base and add_only)
            self._denoisers[key] = ComfyDenoiser(self._model(source), options, missing)
        return self._denoisers[key]


def _same(a: Evaluation, b: Evaluation) -> bool:
    """Whether two terms ask one model for one prompt in one structure."""
    if a.model is not b.model or a.bare != b.bare:
        return False
    return a.entries is b.entries or cond.is_evaluation(a.entries, b.entries, min(a.tolerance, b.tolerance))
