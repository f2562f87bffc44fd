"""One sampling run under domain guidance: predictions that pass by are kept, missing ones evaluated, and the terms summed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.sampler_helpers import prepare_mask
from torch import Tensor

from ...domain_guidance.guidance import Term, compose
from .denoiser import ComfyDenoiser, without_patches
from .guidance_plan import Branch, Subtrahend
from .observation import GuidedStep, Observer

BURN = 8.0


class Seen(NamedTuple):
    """A prediction of this step. place: the index its condition had in the model's batch, 0 positive, 1 negative."""

    prediction: Tensor
    place: int


class GuidanceRun:
    """Lives from the sampler's first step to its last, in the run's own copy of the model options."""

    def __init__(self, base: BaseModel, models: list[ModelPatcher], branches: list[Branch], observer: Observer | None = None):
        self.base, self.models, self.branches, self.observer = base, models, branches, observer
        self.x: Tensor | None = None
        self.kept: list[tuple[list[dict], Seen]] = []

    def open(self) -> None:
        """The host prepares only the guider's own model for a run."""
        for model in self.models:
            model.pre_run()

    def close(self) -> None:
        """The host cleans second models up only after a success."""
        for model in self.models:
            model.cleanup()

    @contextmanager
    def watching(self, x: Tensor) -> Iterator[None]:
        """While the guider works on `x`, its raw predictions are kept."""
        self.x, self.kept = x, []
        try:
            yield
        finally:
            self.x = None

    def keep(self, model: BaseModel, conds: list, x: Tensor, outputs: list[Tensor]) -> None:
        """Keeps the prediction of each prompt at the guider's own x. SAG asks again on a blurred x, other guiders ask other
        models: those are not what the guider guided with."""
        if x is not self.x or model is not self.base:
            return
        for place, (entries, output) in enumerate(zip(conds, outputs)):
            if entries is not None and self._find(entries) is None:
                # A clone, because what follows may edit the host's tensor; adapters know places 0 and 1 only.
                self.kept.append((entries, Seen(output.clone(), min(place, 1))))

    def guide(self, denoised: Tensor, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Tensor:
        """The guider's result, [B, C, ...], with every active term added."""
        level = float(sigma.max())
        references: dict[int, Seen] = {}
        terms = []
        for branch in self.branches:
            weight = branch.weight if level in branch.interval else 0.0
            if weight != 0 or self.observer is not None:
                source = branch.subtrahend
                if id(source) not in references:
                    references[id(source)] = self._reference(source, x, sigma, options)
                terms.append(self._term(branch, weight, references[id(source)], x, sigma))
        if self.observer is not None:
            self.observer(GuidedStep(level, x, denoised, tuple(terms)))
        return compose(denoised, terms)

    def _term(self, branch: Branch, weight: float, reference: Seen, x: Tensor, sigma: Tensor) -> Term:
        prediction = branch.domain(x, sigma, branch.entries, place=reference.place)
        mask = None if branch.mask is None else prepare_mask(branch.mask, x.shape, x.device).to(x.dtype)
        return Term(prediction, reference.prediction, weight, mask, branch.projection)

    def _reference(self, source: Subtrahend, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Seen:
        for entries in source.sampled:
            seen = self._find(entries)
            if seen is not None:
                return seen
        model = source.model
        if model is None:
            model = ComfyDenoiser(self.base, without_patches(options) if source.bare else options)
        return Seen(model(x, sigma, source.entries), 1)

    def _find(self, entries: list[dict]) -> Seen | None:
        return next((seen for kept, seen in self.kept if kept is entries), None)


def warn_of_burn(cfg: float, branches: list[Branch]) -> None:
    pull = cfg + sum(max(branch.weight, 0.0) for branch in branches)
    if pull > BURN:
        logging.warning(
            "Domain Guidance: cfg %g plus domain weight makes %g; above %g pictures tend to burn. Try cfg 3 with weight 2.",
            cfg, pull, BURN,
        )  # fmt: skip
