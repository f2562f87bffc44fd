"""Batches of latents for training, drawn from a filled cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .buckets import Size
from .cached_latents import CachedLatents
from .latent_store import Posterior
from .order import BatchOrder


@dataclass(frozen=True)
class LatentBatch:
    """Latents of one size, drawn from the cache.

    latents: [B, C, h, w] fp32 in the VAE's own scale, on the CPU. bucket: their size in pixels. images: their positions
    in the cache.
    """

    latents: Tensor
    bucket: Size
    images: tuple[int, ...]
    mirrored: tuple[bool, ...]


class LatentLoader:
    """The batches of a training run, one for every step.

    images: positions in `latents` to train on. batch_size, rank, world, mirror: as in `BatchOrder`.
    Within a bucket the images are ordered by content, so that renaming a file does not change what is drawn.
    """

    def __init__(
        self,
        latents: CachedLatents,
        images: Sequence[int],
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        mirror: float = 0.5,
    ):
        self._latents, self._groups = latents, _by_bucket(latents, images)
        sizes = tuple(len(group) for group in self._groups)
        self.order = BatchOrder(sizes, batch_size, seed, rank, world, mirror)

    def batch(self, step: int, generator: torch.Generator) -> LatentBatch:
        """The batch of a step, counted from 0, sampled from the posteriors with the step's generator.

        The noise of all ranks is drawn and this rank's part taken, so every rank must bring the generator in the same
        state.
        """
        visit = self.order.visit(step)
        images = tuple(self._groups[visit.bucket][place] for place in visit.places)
        posteriors = [self._latents.read(image, mirrored) for image, mirrored in zip(images, visit.mirrored)]
        noise = torch.randn(self.order.global_batch, *posteriors[0].mean.shape, generator=generator)
        mine = noise[self.order.rank * self.order.batch_size :][: self.order.batch_size]
        latents = torch.stack([sample(posterior, part) for posterior, part in zip(posteriors, mine)])
        return LatentBatch(latents, self._latents.images[images[0]].bucket, images, visit.mirrored)

    @property
    def note(self) -> str:
        """One sentence for the user where batches must repeat images, else empty."""
        batch = self.order.global_batch
        lonely = sum(size for size in self.order.sizes if size < batch)
        if not lonely:
            return ""
        return (
            f"{lonely} images share their size with fewer images than a batch of {batch} needs and repeat within it: "
            "lower the batch size, or use fewer sizes."
        )


def held_out_batches(latents: CachedLatents, images: Sequence[int], batch_size: int) -> Iterator[LatentBatch]:
    """Every given image once and not mirrored, as its posterior's mean, in a fixed order.

    The last batch of a bucket may be smaller.
    """
    for group in _by_bucket(latents, images):
        for start in range(0, len(group), batch_size):
            chosen = tuple(group[start : start + batch_size])
            means = torch.stack([latents.read(image).mean.float() for image in chosen])
            yield LatentBatch(means, latents.images[chosen[0]].bucket, chosen, (False,) * len(chosen))


def sample(posterior: Posterior, noise: Tensor) -> Tensor:
    """mean + exp(logvar / 2) noise, in fp32; the mean alone where the VAE has no posterior."""
    if posterior.logvar is None:
        return posterior.mean.float()
    return posterior.mean.float() + (posterior.logvar.float() / 2).exp() * noise


def _by_bucket(latents: CachedLatents, images: Sequence[int]) -> list[list[int]]:
    if not images:
        raise ValueError("No image was given to draw batches from: give at least one.")
    groups: dict[Size, list[int]] = {}
    for image in sorted(images, key=lambda image: (latents.images[image].key, image)):
        groups.setdefault(latents.images[image].bucket, []).append(image)
    return [groups[bucket] for bucket in sorted(groups)]
