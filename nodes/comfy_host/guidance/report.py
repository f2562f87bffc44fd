"""One sampling under guidance, measured step by step."""

from __future__ import annotations

from dataclasses import dataclass

from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from PIL import Image
from torch import Tensor

from ....domain_guidance.guidance.schedule import share_of
from ....domain_guidance.pictures.axes_grid import mosaic
from ....domain_guidance.report import Advice, Measured, Step, advise, describe, draw_report, measure, spread
from ..packed_latents import pictures_of
from ..sampling import Sampling, as_pictures, decoded, watched
from .observation import GuidedStep, observed
from .prompt_branch import evaluated_terms
from .terms import JUDGED, terms_of


@dataclass(frozen=True)
class Report:
    """What one reported sampling gives to the node's outputs.

    latent: the result, as KSampler gives it. steps: what was measured. plot: `text` and the measures as a picture.
    """

    latent: dict
    steps: tuple[Step, ...]
    advice: tuple[Advice, ...]
    plot: Image.Image
    text: str


class StepRecorder:
    """Measures each evaluation and keeps the one with which a step begins.

    The sampler reports a step after its first evaluation.
    """

    def __init__(self, model: ModelPatcher, cfg: float):
        self._unconditional = [term.subtracts_unconditional for term in evaluated_terms(model)]
        self._percent_to_sigma = model.get_model_object("model_sampling").percent_to_sigma
        self._cfg = cfg
        self._latest: tuple[float, Measured]  # a step is reported after its first evaluation
        self.steps: list[Step] = []
        self.moved: list[float] = []

    def evaluated(self, step: GuidedStep) -> None:
        self.moved += step.moved
        self._latest = (step.sigma, measure(step.sampler, step.terms, self._cfg, self._unconditional))

    def stepped(self, number: int, x0: Tensor, total: int) -> None:
        sigma, measured = self._latest
        self.steps.append(
            Step(number + 1, share_of(sigma, lambda share: float(self._percent_to_sigma(share))), measured)
        )


def report(model: ModelPatcher, sampling: Sampling, cfg: float, vae: VAE | None = None) -> Report:
    """Samples as KSampler does and reports on it.

    Without domain guidance on `model` the report says what to connect. Raises ValueError, one sentence, where nothing
    of it can be measured by itself.
    """
    terms = evaluated_terms(model)
    if terms_of(model) and not terms:
        raise ValueError(
            "With reference 'fast' the domain is part of your prompt's own prediction, which Domain Guidance Report "
            "cannot take apart: set reference of Apply Domain Guidance to 'auto', or compare weights with Domain "
            "Guidance Sweep."
        )
    weights = [term.weight for term in terms]
    recorder = StepRecorder(model, cfg)
    latent = sampling(_measured(model, recorder) if weights else model, cfg)
    advice = advise(recorder.steps, weights, cfg)
    pictures = None if vae is None else decoded(vae, latent)
    setting = (
        f"weight {', '.join(f'{weight:g}' for weight in weights) or 'none'}, cfg {cfg:g}, batch of "
        f"{len(pictures_of(latent['samples']))}"
    )
    if recorder.moved:
        setting += f"; {_moved_line(recorder.moved)}"
    text = (
        f"{describe(recorder.steps, advice, _result_line(model, latent, pictures))}\n\n{setting}; norms are "
        "L2, means over the batch."
    )
    shown = None if pictures is None else mosaic(as_pictures(pictures))
    return Report(
        latent, tuple(recorder.steps), tuple(advice), draw_report(recorder.steps, advice, setting, shown), text
    )


def _measured(model: ModelPatcher, recorder: StepRecorder) -> ModelPatcher:
    clone = watched(observed(model, recorder.evaluated), recorder.stepped)
    clone.set_attachments(JUDGED, True)
    return clone


def _moved_line(moved: list[float]) -> str:
    return f"held terms had moved by {sum(moved) / len(moved):.0%} of their length on average, {max(moved):.0%} at most"


def _result_line(model: ModelPatcher, latent: dict, pictures: Tensor | None) -> str:
    """How saturated the result is, in one sentence.

    By the deviation of its latents and the share of its pixels at either end of their range.
    """
    deviation = spread(model.model.process_latent_in(pictures_of(latent["samples"])))
    line = f"Result: the standard deviation of its latents is {deviation:.2f} (about 1 is usual)"
    if pictures is None:
        return f"{line}; connect vae to count clipped pixels."
    clipped = ((pictures <= 0.5 / 255) | (pictures >= 254.5 / 255)).float().mean().item()
    return f"{line}, and {clipped:.0%} of its pixel values are clipped (0 or 255)."
