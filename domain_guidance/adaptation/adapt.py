"""Adapting a generator to a critic, as the one run that the ComfyUI node and the command line listen to."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from ..distillation import critic_pixels, distill
from ..memory.activations import activation_bytes
from ..memory.estimate import MemoryEstimate, memory_estimate
from ..runs import Evaluated, Event, Objective, OneProcess, Process, RunFiles, Share, TrainingState
from ..runs.optimizers import adam
from ..runs.process import AUTOCAST
from ..runs.run import run_task
from ..runs.same_run import flat, settings_identity
from ..runs.share import shares
from ..runs.state import read_record
from .critic_model import CriticModel
from .layer_choice import choose_styles
from .pair import AdaptedPair
from .perceptual import STRENGTH, Perceptual
from .settings import AdaptationSettings


def adapt_generator(
    pair: AdaptedPair,
    critic: CriticModel,
    settings: AdaptationSettings,
    files: RunFiles,
    process: Process | None = None,
    perceptual: Perceptual | None = None,
) -> Generator[Event, None, None]:
    """Adapt the pair's source until `settings.steps`, from the saved state where there is one, telling what happens.

    process: left out, the run is this process alone. perceptual: needed where its weight is not 0; `find_perceptual`
    finds one.

    How it may be left, what it keeps then, and what else it raises: `training.run.run_task`. The loss of a `Step` is
    the RMS of what the critic would change in the latent. Raises ValueError for settings that cannot work or differ
    from the saved run's, and FloatingPointError if the critic says nothing finite or the generator diverges.
    """
    if settings.perceptual and perceptual is None:
        raise ValueError(
            f"perceptual is {settings.perceptual:g}, but no perceptual distance was given: give one, or set perceptual "
            "to 0."
        )
    process = process or OneProcess(settings.precision, pair.device.type)
    styles = pair.styles
    if settings.layers:
        styles = _saved_styles(pair, settings, files) or choose_styles(pair, critic, settings, process)
    pair.select(styles)  # from the source, whatever the pair was used for before
    yield from run_task(_Adaptation(pair, critic, settings, files, process, perceptual), files, process)


def _saved_styles(pair: AdaptedPair, settings: AdaptationSettings, files: RunFiles) -> list[int] | None:
    """The choice that a saved run of this generator has made."""
    saved = read_record(files.state)["identity"] if files.state.exists() else {}
    same = (saved.get("generator"), saved.get("layers")) == (pair.identity["generator"], settings.layers)
    return saved["trained styles"] if same else None


class _Adaptation:
    """The `Task` of an adaptation: score distillation of the pictures that the pair draws."""

    def __init__(
        self,
        pair: AdaptedPair,
        critic: CriticModel,
        settings: AdaptationSettings,
        files: RunFiles,
        process: Process,
        perceptual: Perceptual | None,
    ):
        self.pair, self.critic, self.settings, self.files, self.process = pair, critic, settings, files, process
        self.perceptual = perceptual if settings.perceptual else None
        self.network = pair.network
        self.dtype = AUTOCAST.get(settings.precision)

    @property
    def result_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.pair.module.state_dict().values())

    def make_state(self) -> TrainingState:
        return TrainingState(self.pair.module, self.settings, adam, average=self.settings.average)

    def identity(self) -> Mapping[str, Any]:
        critic = dict(flat({"critic": {**self.critic.identity, "prediction": self.critic.prediction}}))
        compared = (
            {"pictures compared at once": self.settings.batch_size}
            if self.settings.distillation.relative_distance
            else {}
        )
        return {**critic, **self.pair.identity, **compared, **settings_identity(self.settings, self.process.world)}

    def memory(self) -> MemoryEstimate:
        few = min(self.settings.batch_size, 2)
        activations, further = self._activations(few), self.settings.batch_size - few
        if further:  # by the difference, because on a CPU the VAE's weights are counted among what is kept
            activations += further * (self._activations(few + 1) - activations)
        estimate = memory_estimate(self.pair.module, average=self.settings.average, activations=activations)
        # The source holds what is trained a second time.
        return replace(estimate, weights=estimate.weights + estimate.gradients)

    def notes(self) -> Sequence[str]:
        chosen = ", ".join(map(str, self.pair.styles or ()))
        return (
            f"The layers of styles {chosen} are trained." if chosen else "",
            "The critic's own memory is not counted here.",
        )

    def objectives(self, network: Callable[..., Tensor], state: TrainingState) -> Sequence[Objective]:
        def objective(share: Share) -> Objective:
            def loss(generator: torch.Generator) -> Tensor:
                with torch.autocast(
                    self.pair.device.type, enabled=False
                ):  # critic and VAE compute in their own precision
                    surrogate, disagreement = self._distilled(network, generator, share)
                if math.isnan(disagreement):
                    raise FloatingPointError(
                        f"The critic's prediction of step {state.step + 1} is all NaN or infinite: run the model "
                        "or its VAE in fp32."
                    )
                # The surrogate is only there for its gradient.
                return surrogate - surrogate.detach() + disagreement

            return loss

        return [objective(share) for share in shares(self.settings.accumulation, self.process)]

    def evaluation(self, state: TrainingState) -> Iterator[Evaluated]:
        yield from ()

    def saved(self) -> Mapping[str, Any]:
        return {}

    def restore(self, saved: Mapping[str, Any]) -> None: ...

    def write(self, state: TrainingState) -> None:
        settings = {name: value for name, value in asdict(self.settings).items() if value != math.inf}
        trained = {"trained_steps": state.step, "processes": self.process.world, "styles": self.pair.styles}
        record = {**settings, **trained, "source": self.pair.digest, "critic": dict(self.critic.identity)}
        with self.files.own_results.replacing(self.files.result) as new:
            self.pair.write(new, record)

    def _distilled(
        self, network: Callable[..., Tensor], generator: torch.Generator, share: Share
    ) -> tuple[Tensor, float]:
        s = self.settings
        with_source = s.distillation.needs_source or self.perceptual is not None
        images, source = self.pair.draw(
            s.batch_size, generator, s.truncation, with_source, share=share, network=network, dtype=self.dtype
        )
        surrogate, found = distill(images, source, self.critic, s.distillation, generator, share)
        if self.perceptual is not None and source is not None:
            weight = STRENGTH * s.distillation.scale * s.perceptual
            surrogate = surrogate + weight * self.perceptual(images, source).mean()
        return surrogate, found.disagreement

    def _activations(self, count: int) -> int:
        """Bytes that generator and VAE keep for the gradient of so many pictures."""

        def forward() -> Tensor:
            images, _ = self.pair.draw(
                count, torch.Generator().manual_seed(0), self.settings.truncation, dtype=self.dtype
            )
            return self.critic.encode(critic_pixels(images, self.settings.distillation.resolution))

        return activation_bytes(forward, self.pair.module)
