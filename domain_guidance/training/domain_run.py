"""Training a domain from a filled latent cache: the one generator that ComfyUI's node and the command line listen to."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from ..data import CachedLatents, LatentLoader, split
from .activations import activation_bytes
from .events import Evaluated, Event, Finished, Prepared, Sample, Saved, Step
from .held_out_loss import HeldOutLoss, Point, memorising
from .loop import TrainingState, train
from .loss import Batch, Share, min_snr, noise_loss
from .memory import MemoryEstimate, check_fits, device_memory, memory_estimate
from .optimizers import adamw_8bit, adamw_fused
from .process import OneProcess, Process
from .run_files import RunFiles
from .run_log import RunLog
from .run_settings import RunSettings
from .same_run import check_same_run, identity
from .state import load_state, read_record, save_state
from .trainable import Trainable


def train_domain(
    trainable: Trainable,
    latents: CachedLatents,
    settings: RunSettings,
    files: RunFiles,
    process: Process | None = None,
) -> Iterator[Event]:
    """Train on the cached images until `settings.steps`, from the saved state where there is one, telling what happens.

    process: left out, the run is this process alone, in the settings' precision.

    The listener may stop after any event: close the generator (`contextlib.closing`), and the state of the last whole step
    is on disk. The same holds under any exception, out-of-memory included. What was there at the last `Saved` survives even
    a kill. While a `Sample` is shown the module holds the averaged weights, and after `Finished` it keeps them.

    Raises ValueError for settings that cannot work or differ from the saved run's, RunFileError where files cannot be
    written, FloatingPointError where the loss diverges.
    """
    run = _Run(trainable, latents, settings, files, process)
    started = time.monotonic()
    with closing(run.events()) as events:
        for event in events:
            if run.writes:
                with files.writing(run.saved_step):
                    run.log.add(event, time.monotonic() - started)
            yield event


class _Network(nn.Module):
    """The trainable's prediction as a module, which is what accelerate can spread over processes."""

    def __init__(self, trainable: Trainable):
        super().__init__()
        self.module, self._trainable = trainable.module, trainable

    def forward(self, noisy: Tensor, timestep: Tensor, conditioning: Any) -> Tensor:
        return self._trainable.predict(noisy, timestep, conditioning)


class _Run:
    def __init__(self, trainable, latents, settings, files, process):
        _check_precision(trainable.module)
        self.trainable, self.latents, self.settings, self.files = trainable, latents, settings, files
        self.device = next(trainable.module.parameters()).device
        # Before the average and the moments are made, which is when it would run out.
        check_fits(self._memory(), trainable.module, device_memory(self.device))
        self.process: Process = process or OneProcess(settings.precision, self.device.type)
        self.writes = self.process.rank == 0
        self.state = TrainingState(trainable.module, settings, adamw_8bit if settings.eight_bit_adam else adamw_fused)
        self.predict = self.process.prepare(_Network(trainable), self.state.optimizer)
        self.split = split([image.key for image in latents.images])
        self.shares = [
            Share(number * self.process.world + self.process.rank, settings.accumulation * self.process.world)
            for number in range(settings.accumulation)
        ]
        self.loaders = [self._loader(share) for share in self.shares]
        images_a_step = settings.batch_size * settings.accumulation * self.process.world
        self.held_out = HeldOutLoss(trainable, latents, self.split, settings.batch_size, images_a_step) if self.split.held_out else None
        self.points: list[Point] = []
        self.saved_step = 0
        self.log = RunLog(files.log)

    def events(self) -> Iterator[Event]:
        try:
            # Leaving here closes the inner generator first, which puts the trained weights back where the averages were in.
            yield from self._events()
        finally:
            self._save_what_is_new()

    def _events(self) -> Iterator[Event]:
        memory = self._prepare()
        yield Prepared(self.state.step, self._message(memory), memory)
        if not self.state.step and self.settings.sample_every:
            yield Sample(0)
        yield from self._evaluation()
        with closing(train(self.state, self._objectives(), self.settings, self.process)) as events:
            for event in events:
                if isinstance(event, Step):
                    yield event
                    yield from self._evaluation()
                    yield from self._checkpoint()
                elif isinstance(event, Sample):
                    yield event
                elif isinstance(event, Finished):
                    yield self._finish()

    def _prepare(self) -> MemoryEstimate:
        memory, resumed = self._memory(self._activations()), self.files.state.exists()
        if self.writes:
            # At a save the old and the new state are there at once, each four times the trained weights, and two results.
            self.files.make_folders(needed=(5 if resumed else 10) * memory.average)
        if resumed:
            self._resume()
        self.process.wait()  # every process has read the state before one of them writes it
        if self.writes:
            with self.files.writing(self.saved_step):
                self.log.cut(self.state.step)
        return memory

    def _resume(self) -> None:
        record = read_record(self.files.state)
        check_same_run(record["identity"], self._identity(), self.files.name)
        load_state(self.files.state, self.state)
        self.saved_step = self.state.step
        self.points = [Point(*values) for values in record["points"]]
        self.process.restore_scaling(record["scaling"])

    def _memory(self, activations: int = 0) -> MemoryEstimate:
        return memory_estimate(self.trainable.module, eight_bit_adam=self.settings.eight_bit_adam, activations=activations)

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
            self.latents, self.split.train, batch_size=s.batch_size, seed=s.seed, rank=share.index, world=share.count, mirror=s.mirror
        )

    def _objectives(self):
        kind = self.trainable.prediction
        weight = min_snr(self.settings.min_snr, kind) if self.settings.min_snr else None

        def objective(loader: LatentLoader, share: Share):
            def loss(generator: torch.Generator) -> Tensor:
                batch = loader.batch(self.state.step, generator)
                clean = self.trainable.latent_scale(batch.latents.to(self.device))
                conditioned = Batch(clean, self.trainable.conditioning(len(clean), batch.bucket))
                return noise_loss(self.predict, conditioned, self.trainable.schedule, kind, generator, weight, share)

            return loss

        return [objective(loader, share) for loader, share in zip(self.loaders, self.shares)]

    def _evaluation(self) -> Iterator[Evaluated]:
        """The held-out loss, if it is due and not known yet; a new best is written."""
        step, every = self.state.step, self.settings.evaluate_every
        known = bool(self.points) and self.points[-1].step >= step
        if not self.held_out or not every or known or (step % every and step < self.settings.steps):
            return
        with self.state.ema.swapped_in():
            point = self.held_out.measure(step, self.trainable.predict, self.process)
            self.points.append(point)
            if step and point == self._best() and self.writes:
                with self.files.writing():
                    self.trainable.write(self.files.best, self._record(point))
        yield Evaluated(step, point.train, point.held_out, self._best().held_out, memorising(self.points))

    def _best(self) -> Point:
        """The lowest held-out loss after at least one step; of the untrained model where nothing else is known."""
        return min([point for point in self.points if point.step] or self.points, key=lambda point: point.held_out)

    def _checkpoint(self) -> Iterator[Saved]:
        step, every = self.state.step, self.settings.checkpoint_every
        if step == self.settings.steps or (every and step % every == 0):
            self._save()
            yield Saved(self.files.state, step)

    def _save(self) -> None:
        if self.writes:
            record = {
                "identity": self._identity(),
                "points": [[point.step, point.train, point.held_out] for point in self.points],
                "scaling": self.process.scaling(),
            }
            with self.files.writing(self.saved_step):
                save_state(self.files.state, self.state, record)
        self.saved_step = self.state.step

    def _save_what_is_new(self) -> None:
        if self.state.whole and self.state.step > self.saved_step:
            self._save()

    def _finish(self) -> Finished:
        if self.writes:
            with self.files.writing(self.saved_step):
                self.trainable.write(self.files.result, self._record(self.points[-1] if self.points else None))
        self.process.wait()
        return Finished(self.state.step, self.files.result, self.files.best if self.files.best.exists() else None)

    def _record(self, point: Point | None) -> dict[str, Any]:
        """What the file's card says of its training."""
        losses = {"held_out_loss": point.held_out, "train_loss": point.train} if point else {}
        return {
            **asdict(self.settings),
            "trained_steps": self.state.step,
            "processes": self.process.world,
            "images": len(self.split.train),
            "held_out_images": len(self.split.held_out),
            "image_set": self.latents.fingerprint,
            **losses,
        }

    def _identity(self) -> dict[str, Any]:
        return identity(self.trainable, self.settings, self.latents.fingerprint, self.process.world)

    def _message(self, memory: MemoryEstimate) -> str:
        trained = sum(p.numel() for p in self.state.parameters.values())
        notes = [self._start(), self.latents.report, self.split.note, self.loaders[0].note, f"{trained / 1e6:.2f} M parameters are trained; {memory}."]
        return " ".join(note for note in notes if note)

    def _start(self) -> str:
        step, steps = self.state.step, self.settings.steps
        if step >= steps:
            return f"The run '{self.files.name}' has made its {step} steps: ask for more of them to go on."
        return f"Goes on after step {step} of {steps}." if step else f"{steps} steps."


def _check_precision(module: nn.Module) -> None:
    narrow = {str(p.dtype).removeprefix("torch.") for p in module.parameters() if p.requires_grad and p.dtype != torch.float32}
    if narrow:
        raise ValueError(
            f"The weights to be trained are in {', '.join(sorted(narrow))}, in which small steps are lost: hold them in fp32 and "
            "set the precision to bf16 or fp16, or train the adapter form."
        )
