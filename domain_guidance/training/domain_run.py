"""Training a domain from a filled latent cache, for ComfyUI's node and the command line alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data import CachedLatents, LatentLoader, split
from ..diffusion.time_sampling import TimeSampling, usual_sampling
from ..domains.run_identity import levels_identity
from ..memory.activations import activation_bytes
from ..memory.estimate import MemoryEstimate, check_fits, device_memory, memory_estimate
from ..runs.events import Evaluated, Event
from ..runs.loop import Objective, TrainingState
from ..runs.optimizers import adamw_8bit, adamw_fused
from ..runs.process import OneProcess, Process
from ..runs.run import run_task
from ..runs.run_files import RunFiles
from ..runs.same_run import settings_identity
from ..runs.share import Share, shares
from .held_out_loss import HeldOutLoss, Order, Point, memorising
from .loss import Batch, min_snr, noise_loss
from .run_settings import RunSettings
from .trainable import Trainable


def train_domain(
    trainable: Trainable,
    latents: CachedLatents,
    settings: RunSettings,
    files: RunFiles,
    process: Process | None = None,
) -> Generator[Event, None, None]:
    """Train on the cached images until `settings.steps`, from the saved state where there is one, telling what happens.

    process: left out, the run is this process alone, in the settings' precision.

    How it may be left, what it keeps then, and what else it raises: `run.run_task`. Raises ValueError for settings that
    cannot work or differ from the saved run's.
    """
    process = process or OneProcess(settings.precision, next(trainable.module.parameters()).device.type)
    yield from run_task(_DomainTask(trainable, latents, settings, files, process), files, process)


class _Network(nn.Module):
    """The trainable's prediction as a module, which is what accelerate can spread over processes."""

    def __init__(self, trainable: Trainable):
        super().__init__()
        self.module, self._trainable = trainable.module, trainable

    def forward(self, noisy: Tensor, timestep: Tensor, conditioning: Any) -> Tensor:
        return self._trainable.predict(noisy, timestep, conditioning)


class _DomainTask:
    """The `Task` of a domain: noise errors on the training images, measured on held-out ones."""

    def __init__(
        self, trainable: Trainable, latents: CachedLatents, settings: RunSettings, files: RunFiles, process: Process
    ):
        _check_precision(trainable.module)
        self.trainable, self.latents, self.settings, self.files, self.process = (
            trainable,
            latents,
            settings,
            files,
            process,
        )
        self.device = next(trainable.module.parameters()).device
        # Before the average and the moments are made, which is when it would run out.
        check_fits(self._memory(), device_memory(self.device))
        self.network = _Network(trainable)
        self.split = split([image.key for image in latents.images])
        self.shares = shares(settings.accumulation, process)
        self.loaders = [self._loader(share) for share in self.shares]
        self.held_out = self._held_out_loss("content") if self.split.held_out else None
        self.points: list[Point] = []
        self.times: TimeSampling = _time_sampling(settings, trainable)

    @property
    def result_bytes(self) -> int:
        return 2 * self._memory().gradients  # the result and the best

    def make_state(self) -> TrainingState:
        return TrainingState(
            self.trainable.module, self.settings, adamw_8bit if self.settings.eight_bit_adam else adamw_fused
        )

    def identity(self) -> Mapping[str, Any]:
        own = {"prediction": self.trainable.prediction, "images, their sizes or the VAE": self.latents.fingerprint}
        levels = levels_identity(self.trainable.schedule)
        settings = replace(self.settings, time_sampling=self.times)
        return {**self.trainable.identity, **own, **levels, **settings_identity(settings, self.process.world)}

    def memory(self) -> MemoryEstimate:
        return self._memory(self._activations())

    def notes(self) -> Sequence[str]:
        return self.latents.report, self.split.note, self.loaders[0].note

    def objectives(self, network: Callable[..., Tensor], state: TrainingState) -> Sequence[Objective]:
        kind = self.trainable.prediction
        weight = min_snr(self.settings.min_snr, kind) if self.settings.min_snr else self.trainable.loss_weight

        def objective(loader: LatentLoader, share: Share) -> Objective:
            def loss(generator: torch.Generator) -> Tensor:
                batch = loader.batch(state.step, generator)
                clean = self.trainable.latent_scale(batch.latents.to(self.device))
                conditioned = Batch(clean, self.trainable.conditioning(len(clean), batch.bucket))
                return noise_loss(
                    network, conditioned, self.trainable.schedule, kind, generator, weight, share, self.times
                )

            return loss

        return [objective(loader, share) for loader, share in zip(self.loaders, self.shares)]

    def evaluation(self, state: TrainingState) -> Iterator[Evaluated]:
        """The held-out loss, if it is due and not known yet; a new best is written."""
        step, every = state.step, self.settings.evaluate_every
        known = bool(self.points) and self.points[-1].step >= step
        if not self.held_out or not every or known or (step % every and step < self.settings.steps):
            return
        with state.ema.swapped_in():
            point = self.held_out.measure(step, self.trainable.predict, self.process)
            if step and point == self._best(point) and self.process.rank == 0:
                self._write(self.files.best, step, point)
        # Not before its file is there: a run that goes on after a failed write measures again, and writes again.
        self.points.append(point)
        yield Evaluated(step, point.train, point.held_out, self._best().held_out, memorising(self.points))

    def saved(self) -> Mapping[str, Any]:
        points = [[point.step, point.train, point.held_out, list(point.each)] for point in self.points]
        return {"points": points, "measured by": self.held_out.by if self.held_out else "content"}

    def restore(self, saved: Mapping[str, Any]) -> None:
        # A state of an earlier version has no errors of single images.
        self.points = [Point(*values[:3], *map(tuple, values[3:])) for values in saved["points"]]
        if self.points and self.held_out:
            # The next point is compared with these, so it must be measured as they were: at the same noise.
            self.held_out = self._held_out_loss(saved.get("measured by", "position"))

    def write(self, state: TrainingState) -> None:
        self._write(self.files.result, state.step, self.points[-1] if self.points else None)

    def _write(self, path: Path, step: int, point: Point | None) -> None:
        with self.files.own_results.replacing(path) as new:
            self.trainable.write(new, self._record(step, point))

    def _best(self, *more: Point) -> Point:
        """The lowest held-out loss after at least one step; of the untrained model where nothing else is known."""
        points = [*self.points, *more]
        return min([point for point in points if point.step] or points, key=lambda point: point.held_out)

    def _held_out_loss(self, by: Order) -> HeldOutLoss:
        images_a_step = self.settings.batch_size * self.shares[0].count
        return HeldOutLoss(self.trainable, self.latents, self.split, self.settings.batch_size, images_a_step, by=by)

    def _memory(self, activations: int = 0) -> MemoryEstimate:
        return memory_estimate(
            self.trainable.module, eight_bit_adam=self.settings.eight_bit_adam, activations=activations
        )

    def _activations(self) -> int:
        """Bytes that a micro-batch of the largest size keeps for its gradient, from one image of it."""
        largest = max(self.split.train, key=lambda image: math.prod(self.latents.images[image].bucket))
        clean = self.trainable.latent_scale(self.latents.read(largest).mean[None].float().to(self.device))
        conditioning = self.trainable.conditioning(1, self.latents.images[largest].bucket)

        def forward() -> Tensor:
            with self.process.arithmetic():
                return self.trainable.predict(clean, torch.zeros(1, dtype=torch.long, device=self.device), conditioning)

        return activation_bytes(forward, self.trainable.module) * self.settings.batch_size

    def _loader(self, share: Share) -> LatentLoader:
        s = self.settings
        return LatentLoader(
            self.latents,
            self.split.train,
            batch_size=s.batch_size,
            seed=s.seed,
            rank=share.index,
            world=share.count,
            mirror=s.mirror,
        )

    def _record(self, step: int, point: Point | None) -> dict[str, Any]:
        """What the file's card says of its training."""
        losses = {"held_out_loss": point.held_out, "train_loss": point.train} if point else {}
        return {
            **asdict(self.settings),
            "time_sampling": self.times,
            "trained_steps": step,
            "processes": self.process.world,
            "images": len(self.split.train),
            "held_out_images": len(self.split.held_out),
            "image_set": self.latents.fingerprint,
            **losses,
        }


def _check_precision(module: nn.Module) -> None:
    narrow = {
        str(p.dtype).removeprefix("torch.") for p in module.parameters() if p.requires_grad and p.dtype != torch.float32
    }
    if narrow:
        raise ValueError(
            f"The weights to be trained are in {', '.join(sorted(narrow))}, in which small steps are lost: hold them "
            "in fp32 and set the precision to bf16 or fp16, or train the adapter form."
        )


def _time_sampling(settings: RunSettings, trainable: Trainable) -> TimeSampling:
    if settings.time_sampling != "auto":
        return settings.time_sampling
    if trainable.loss_weight is not None:  # which says what each level counts when all come alike
        return "uniform"
    return usual_sampling(trainable.prediction, trainable.schedule.is_even_in_log_sigma)
