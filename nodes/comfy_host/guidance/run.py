"""One sampling run: passing predictions are kept, missing ones evaluated, and the terms summed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from comfy.model_base import BaseModel
from torch import Tensor

from ....domain_guidance.guidance import Term, compose
from .branches import Branch, Evaluation
from .conditioning import has_control
from .denoiser import ComfyDenoiser, has_patches, without_patches
from .held_terms import HeldTerms, moved
from .observation import GuidedStep, Observer
from .plan import GuidancePlan
from .prompt_branch import UNASKED, PromptBranch
from .shared_control import ControlMemory


class Seen(NamedTuple):
    """A prediction of this step. place: the index its condition had in the model's batch, 0 positive, 1 negative."""

    prediction: Tensor
    place: int


class GuidanceRun:
    """Lives from the sampler's first step to its last, in the run's own copy of the model options."""

    def __init__(
        self,
        plan: GuidancePlan,
        branches: list[Branch],
        on_prompt: list[PromptBranch],
        observer: Observer | None = None,
    ):
        self.base, self.prompts, self.models, self.controls = plan.base, plan.prompts, plan.models, plan.controls
        self.branches, self.on_prompt, self.observer = branches, on_prompt, observer
        # Adapters that tell positive from negative are patches; without any, a prediction is one and the same in both
        # places.
        self.place_matters = has_patches(plan.options)
        self.memory = ControlMemory(_asked_controls(branches))
        self.x: Tensor | None = None
        self.asked: list[bool] = []  # of the prompts that the guider asks about at the moment: is it one of the user's
        self.kept: list[tuple[list[dict], Seen]] = []
        self.evaluated: dict[tuple[int, int], Seen] = {}
        self.held = HeldTerms(plan.sigmas)

    def open(self) -> None:
        """The host prepares only the guider's own model for a run."""
        for model in self.models:
            model.pre_run()

    def close(self) -> None:
        """The host cleans second models up only after a success, and ControlNets only those of its own prompts."""
        for model in (*self.models, *self.controls):
            model.cleanup()

    @contextmanager
    def watching(self, x: Tensor) -> Iterator[None]:
        """While the guider works on `x`, its raw predictions are kept."""
        self._forget()
        self.x = x
        try:
            yield
        finally:
            self.x = None

    @contextmanager
    def asking(self, model: BaseModel, conds: list, x: Tensor) -> Iterator[None]:
        """While the host evaluates `conds` at `x`, adapters of the prompt's branch know which of them are prompts."""
        if x is self.x and model is self.base:
            wanted = [entries for name, entries in self.prompts.items() if name not in UNASKED]
            self.asked = [any(entries is one for one in wanted) for entries in conds]
        try:
            yield
        finally:
            self.asked = []

    @contextmanager
    def with_adapters(self, model: BaseModel, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Iterator[None]:
        """While the network works on one of the guider's batches, adapters act on the rows of prompts."""
        with ExitStack() as undo:
            if self.asked and model is self.base:
                rows = [self.asked[place] for place in options["cond_or_uncond"]]
                for branch in self.on_prompt:
                    undo.enter_context(branch.applied(model, float(sigma.max()), rows, len(x)))
            yield

    def keep(self, model: BaseModel, conds: list, x: Tensor, outputs: list[Tensor]) -> None:
        """Keeps the prediction of each prompt at the guider's own x.

        SAG asks again on a blurred x, other guiders ask other
        models: those are not what the guider guided with.
        """
        if x is not self.x or model is not self.base:
            return
        for place, (entries, output) in enumerate(zip(conds, outputs)):
            if entries is not None and self._find(entries) is None:
                # A clone, because what follows may edit the host's tensor; adapters know places 0 and 1 only.
                self.kept.append((entries, Seen(output.clone(), min(place, 1))))

    def keep_control(self, model: BaseModel, x: Tensor, sigma: Tensor, control: dict, options: dict[str, Any]) -> None:
        """Keeps what ControlNets gave to a batch of the guider's."""
        if self.memory.asked and self.x is not None and model is self.base:
            self.memory.keep(self.prompts, x, sigma, control, options)

    def guide(self, denoised: Tensor, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Tensor:
        """The guider's result, [B, C, ...], with every active term added."""
        level = float(sigma.max())
        weights = [branch.weight_at(level) for branch in self.branches]
        terms = [
            self._held_or_new(number, weight, x, sigma, options)
            for number, weight in enumerate(weights)
            if weight != 0 or self.observer is not None
        ]
        if self.observer is not None:
            self.observer(GuidedStep(level, x, denoised, tuple(terms), tuple(self._drifts(terms, x, sigma, options))))
        self._forget()
        return compose(denoised, terms)

    def _held_or_new(self, number: int, weight: float, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Term:
        """The term as an earlier step left it, where that still stands, else evaluated."""
        branch, level = self.branches[number], float(sigma.max())
        held = self.held.held(number, branch.every, level, x)
        if held is not None:
            return replace(held, weight=weight)
        term = self._term(branch, weight, x, sigma, options)
        if branch.every > 1 and weight != 0:
            self.held.keep(number, level, term)
        return term

    def _drifts(self, terms: list[Term], x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Iterator[float]:
        """How far each held term has moved meanwhile, which takes the evaluation that holding it saves."""
        for number, (branch, term) in enumerate(zip(self.branches, terms)):
            if term.weight != 0 and self.held.held(number, branch.every, float(sigma.max()), x) is not None:
                yield moved(term, self._term(branch, term.weight, x, sigma, options))

    def _term(self, branch: Branch, weight: float, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Term:
        reference = self._reference(branch, x, sigma, options)
        if branch.correction is not None:
            domain = branch.correction(x, sigma, reference.prediction)
            return Term(domain, reference.prediction, weight, branch.mask, branch.projection)
        place = reference.place if branch.prompt_place is None else branch.prompt_place
        prediction = self._seen(branch.prediction, place, x, sigma, options)
        return Term(prediction.prediction, reference.prediction, weight, branch.mask, branch.projection)

    def _reference(self, branch: Branch, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Seen:
        if branch.otherwise is not None and self._made(branch.subtrahend, branch.minus_place) is None:
            there = self._made(branch.otherwise, branch.minus_place)
            if there is not None:
                return there
        return self._seen(branch.subtrahend, branch.minus_place, x, sigma, options)

    def _seen(self, asked: Evaluation, place: int | None, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Seen:
        """The sampler's own prediction where it serves, else an evaluation, once per step.

        place: None where any place will do.
        """
        place = place if self.place_matters else None
        made = self._made(asked, place)
        if made is not None:
            return made
        place = 1 if place is None else place
        if (id(asked), place) not in self.evaluated:
            model = asked.model or ComfyDenoiser(self.base, without_patches(options) if asked.bare else options)
            self.evaluated[id(asked), place] = Seen(
                model(x, sigma, self.memory.attach(asked.entries, asked.tolerance), place=place), place
            )
        return self.evaluated[id(asked), place]

    def _made(self, asked: Evaluation, place: int | None) -> Seen | None:
        """The sampler's own prediction of this step, where it made this one."""
        place = place if self.place_matters else None
        seen = (self._find(entries) for entries in asked.sampled)
        return next((one for one in seen if one is not None and place in (None, one.place)), None)

    def _find(self, entries: list[dict]) -> Seen | None:
        return next((seen for kept, seen in self.kept if kept is entries), None)

    def _forget(self) -> None:
        self.kept, self.evaluated = [], {}
        self.memory.forget()


def _asked_controls(branches: list[Branch]) -> frozenset[int]:
    evaluations = [evaluation for branch in branches for evaluation in (branch.prediction, branch.subtrahend)]
    entries = [entry for evaluation in evaluations for entry in evaluation.entries if has_control([entry])]
    return frozenset(id(entry["control"]) for entry in entries)
