"""The second curve: the loss on images that are never trained on, at fixed noise and timesteps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import CachedLatents, Split, held_out_batches
from ..runs.process import Process
from .loss import Batch, Predict, noise_errors
from .trainable import Trainable

LEVELS = 4  # timesteps an image is measured at
FEWEST, MOST = 16, 64  # images measured of each side, where there are so many
WIDENED = 0.05  # of the held-out loss


@dataclass(frozen=True)
class Point:
    """One measurement: mean squared errors after `step` steps."""

    step: int
    train: float
    held_out: float

    @property
    def gap(self) -> float:
        return self.held_out - self.train


class HeldOutLoss:
    """Measures the loss on the held-out images and on as many training images.

    Of each at most 64, and fewer where a step has few images, beside which a measurement would take long: 4 for each of
    a step's, but not under 16 (our choice). images_a_step: over all processes and micro-batches. batch_size: at a time.

    Image i sees its own fixed noise at four timesteps, one of each quarter of the schedule. So two measurements differ
    by the weights alone, and the two sides by the images alone.
    """

    def __init__(
        self, trainable: Trainable, latents: CachedLatents, split: Split, batch_size: int, images_a_step: int = MOST
    ):
        self._trainable, self._latents, self._batch_size = trainable, latents, batch_size
        self._held_out = _spread(split.held_out, min(MOST, max(FEWEST, 4 * images_a_step)))
        self._train = _spread(split.train, len(self._held_out))

    def measure(self, step: int, predict: Predict, process: Process) -> Point:
        """The mean errors now. predict: the network, in whatever precision it is called."""
        train, held_out = (self._loss(images, predict, process) for images in (self._train, self._held_out))
        return Point(step, train, held_out)

    @torch.no_grad()
    def _loss(self, images: Sequence[int], predict: Predict, process: Process) -> float:
        total, batches = torch.zeros((), dtype=torch.float64), held_out_batches(self._latents, images, self._batch_size)
        for number, batch in enumerate(batches):
            if number % process.world != process.rank:
                continue
            for level in range(LEVELS):
                with process.arithmetic():
                    total += self._errors(predict, batch, level).double().sum().cpu()
        return float(process.mean(total)) * process.world / (LEVELS * len(images))

    def _errors(self, predict: Predict, batch, level: int) -> Tensor:
        trainable = self._trainable
        clean = trainable.latent_scale(batch.latents.to(next(trainable.module.parameters()).device))
        drawn = [_draw(image, level, clean.shape[1:], len(trainable.schedule.sigmas)) for image in batch.images]
        timestep, noise = torch.tensor([t for t, _ in drawn]), torch.stack([noise for _, noise in drawn])
        conditioning = trainable.conditioning(len(clean), batch.bucket)
        return noise_errors(
            predict, Batch(clean, conditioning), trainable.schedule, trainable.prediction, timestep, noise
        )


def memorising(points: Sequence[Point]) -> str:
    """One sentence if, past the best held-out loss, only training images still get better, else empty (our choice)."""
    first, last = points[0], points[-1]
    best = min(points, key=lambda point: point.held_out)
    if last.train >= best.train or last.gap - first.gap < WIDENED * last.held_out:
        return ""
    return (
        f"The model is memorising: since step {best.step} held-out images are predicted worse ({best.held_out:.4f} "
        f"then, {last.held_out:.4f} now) and training images better ({last.train:.4f}); use the best file, stop here "
        "or add images."
    )


def _spread(images: Sequence[int], count: int) -> tuple[int, ...]:
    """At most `count` of the images, evenly spaced."""
    count = min(count, len(images))
    return tuple(images[number * len(images) // count] for number in range(count))


def _draw(image: int, level: int, shape: Sequence[int], timesteps: int) -> tuple[int, Tensor]:
    generator = torch.Generator().manual_seed((image << 8) + level)
    fraction = (level + torch.rand((), generator=generator).item()) / LEVELS
    return min(timesteps - 1, int(timesteps * fraction)), torch.randn(*shape, generator=generator)
