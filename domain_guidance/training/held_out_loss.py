"""The second curve: the loss on images that are never trained on, at fixed noise and timesteps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean as mean
from statistics import stdev
from typing import Literal

import torch
from torch import Tensor

from ..data import CachedLatents, Split, held_out_batches
from ..runs.process import Process
from .loss import Batch, Predict, noise_errors
from .trainable import Trainable

LEVELS = 4  # timesteps an image is measured at
FEWEST, MOST = 16, 64  # images measured of each side, where there are so many
WIDENED = 0.05  # of the held-out loss
FEWEST_TO_JUDGE, STANDARD_ERRORS = 8, 2.0  # held-out images, and how many a growth of their error must exceed

Order = Literal["content", "position"]


@dataclass(frozen=True)
class Point:
    """One measurement: mean squared errors after `step` steps, and the error of each held-out image."""

    step: int
    train: float
    held_out: float
    each: tuple[float, ...] = ()

    @property
    def gap(self) -> float:
        return self.held_out - self.train


class HeldOutLoss:
    """Measures the loss on the held-out images and on as many training images.

    Of each at most 64, and fewer where a step has few images, beside which a measurement would take long: 4 for each of
    a step's, but not under 16 (our choice). images_a_step: over all processes and micro-batches. batch_size: at a time.

    Every image sees its own fixed noise at four timesteps, one of each quarter of the schedule. So two measurements
    differ by the weights alone, and the two sides by the images alone.

    by: what orders the images and seeds their noise. Their content, so that other names or another order change
    nothing; their position in the source only for runs that an earlier version began.
    """

    def __init__(
        self,
        trainable: Trainable,
        latents: CachedLatents,
        split: Split,
        batch_size: int,
        images_a_step: int = MOST,
        *,
        by: Order = "content",
    ):
        self._trainable, self._latents, self._batch_size, self.by = trainable, latents, batch_size, by
        held_out, train = (self._ordered(images) for images in (split.held_out, split.train))
        self._held_out = _spread(held_out, min(MOST, max(FEWEST, 4 * images_a_step)))
        self._train = _spread(train, len(self._held_out))

    def measure(self, step: int, predict: Predict, process: Process) -> Point:
        """The mean errors now. predict: the network, in whatever precision it is called."""
        train, held_out = (self._losses(images, predict, process) for images in (self._train, self._held_out))
        return Point(step, mean(train), mean(held_out), held_out)

    def _ordered(self, images: Sequence[int]) -> Sequence[int]:
        if self.by == "position":
            return images
        return sorted(images, key=lambda image: self._latents.images[image].key)

    @torch.no_grad()
    def _losses(self, images: Sequence[int], predict: Predict, process: Process) -> tuple[float, ...]:
        """The mean error of each image, in their order."""
        total, place = torch.zeros(len(images), dtype=torch.float64), {image: n for n, image in enumerate(images)}
        for number, batch in enumerate(held_out_batches(self._latents, images, self._batch_size)):
            if number % process.world != process.rank:
                continue
            places = [place[image] for image in batch.images]
            for level in range(LEVELS):
                with process.arithmetic():
                    total[places] += self._errors(predict, batch, level).cpu().double()
        return tuple((process.mean(total) * process.world / LEVELS).tolist())

    def _errors(self, predict: Predict, batch, level: int) -> Tensor:
        trainable = self._trainable
        clean = trainable.latent_scale(batch.latents.to(next(trainable.module.parameters()).device))
        seeds = [self._seed(image, level) for image in batch.images]
        drawn = [_draw(seed, level, clean.shape[1:], len(trainable.schedule.sigmas)) for seed in seeds]
        timestep, noise = torch.tensor([t for t, _ in drawn]), torch.stack([noise for _, noise in drawn])
        conditioning = trainable.conditioning(len(clean), batch.bucket)
        return noise_errors(
            predict, Batch(clean, conditioning), trainable.schedule, trainable.prediction, timestep, noise
        )

    def _seed(self, image: int, level: int) -> int:
        if self.by == "position":
            return (image << 8) + level
        digest = hashlib.sha256(f"held out {self._latents.images[image].key} {level}".encode()).digest()
        return int.from_bytes(digest[:4], "big")  # torch's CPU generator reads 32 bits alone


def memorising(points: Sequence[Point]) -> str:
    """One sentence if, past the best held-out loss, only training images still get better, else empty (our choice).

    Held-out images must be predicted worse than at the best step by more than twice the standard error of the paired
    differences. Fewer than 8 of them give no verdict.
    """
    first, last = points[0], points[-1]
    best = min(points, key=lambda point: point.held_out)
    if last.train >= best.train or last.gap - first.gap < WIDENED * last.held_out:
        return ""
    if len(last.each) < FEWEST_TO_JUDGE or len(best.each) != len(last.each):
        return ""
    worse = [now - then for now, then in zip(last.each, best.each)]
    if mean(worse) <= STANDARD_ERRORS * stdev(worse) / len(worse) ** 0.5:
        return ""
    return (
        f"The model is memorising: since step {best.step} its error on {len(worse)} held-out images has grown by "
        f"{mean(worse) / best.held_out:.1%} and that on training images has fallen; load the result whose "
        "name ends with .best, stop here or add images."
    )


def _spread(images: Sequence[int], count: int) -> tuple[int, ...]:
    """At most `count` of the images, evenly spaced."""
    count = min(count, len(images))
    return tuple(images[number * len(images) // count] for number in range(count))


def _draw(seed: int, level: int, shape: Sequence[int], timesteps: int) -> tuple[int, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    fraction = (level + torch.rand((), generator=generator).item()) / LEVELS
    return min(timesteps - 1, int(timesteps * fraction)), torch.randn(*shape, generator=generator)
