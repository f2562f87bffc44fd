"""Which images make up a step, from seed and step alone, so that resuming needs no state but the step counter."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

import torch


@dataclass(frozen=True)
class Visit:
    """One rank's part of a step. places: positions in the bucket. mirrored: for each, whether its mirror is meant."""

    bucket: int
    places: tuple[int, ...]
    mirrored: tuple[bool, ...]


@dataclass(frozen=True)
class BatchOrder:
    """The order of batches over images that lie in buckets (our choice).

    sizes: images in each bucket. batch_size: of one rank. mirror: the share of mirrored visits (arXiv 2312.08195: 0.5).

    Every bucket is an endless row of passes, each a fresh permutation of its images, and its batches are cut from that
    row one after the other. So an image is never left out and never drawn twice in a pass: what does not fill a batch
    goes into the first one of the next pass. A bucket smaller than a batch repeats its images within the batch. Epoch e
    holds the batches that get full in pass e of their bucket, in random order, so a batch never mixes buckets and every
    bucket gets its share.

    The batch of all ranks is cut into `world` slices: two ranks of batch b see what one rank of batch 2b sees. Gradient
    accumulation is the same thing in time: give its micro-steps as ranks.
    """

    sizes: tuple[int, ...]
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    mirror: float = 0.5

    def __post_init__(self):
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"The buckets hold {list(self.sizes)} images: every bucket needs at least one.")
        if self.batch_size < 1 or not 0 <= self.rank < self.world:
            raise ValueError(
                f"Batches of {self.batch_size} for rank {self.rank} of {self.world} were asked for: a batch has at "
                "least one image, and ranks run from 0 to one less than their number."
            )

    @property
    def global_batch(self) -> int:
        """Images a step, of all ranks."""
        return self.batch_size * self.world

    def epoch(self, step: int) -> int:
        """The epoch of a step, both from 0."""
        total, batch = sum(self.sizes), self.global_batch
        # Rounding takes less than one batch off each bucket, which bounds the search on both sides.
        candidates = range(step * batch // total, (step + len(self.sizes)) * batch // total + 2)
        return candidates[bisect_right(candidates, step, key=self._steps_before) - 1]

    def visit(self, step: int) -> Visit:
        """What this rank sees in a step, counted from 0."""
        epoch = self.epoch(step)
        first = self._full_batches(epoch)
        ends = list(accumulate(after - before for before, after in zip(first, self._full_batches(epoch + 1))))
        shuffled = torch.randperm(ends[-1], generator=self._generator("batches", epoch))
        slot = int(shuffled[step - sum(first)])
        bucket = bisect_right(ends, slot)
        number = first[bucket] + slot - (ends[bucket - 1] if bucket else 0)
        start = number * self.global_batch + self.rank * self.batch_size
        return self._cut(bucket, range(start, start + self.batch_size))

    def _cut(self, bucket: int, row: range) -> Visit:
        size = self.sizes[bucket]
        passes = {number: self._pass(bucket, number) for number in range(row[0] // size, row[-1] // size + 1)}
        drawn = [(passes[place // size], place % size) for place in row]
        return Visit(
            bucket,
            tuple(int(permutation[offset]) for (permutation, _), offset in drawn),
            tuple(bool(flips[offset]) for (_, flips), offset in drawn),
        )

    def _pass(self, bucket: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = self._generator("images", bucket, number)
        permutation = torch.randperm(self.sizes[bucket], generator=generator)
        return permutation, torch.rand(self.sizes[bucket], generator=generator) < self.mirror

    def _full_batches(self, epoch: int) -> list[int]:
        """How many batches of each bucket are full before an epoch begins."""
        return [epoch * size // self.global_batch for size in self.sizes]

    def _steps_before(self, epoch: int) -> int:
        return sum(self._full_batches(epoch))

    def _generator(self, *purpose: object) -> torch.Generator:
        digest = hashlib.sha256(repr((self.seed, *purpose)).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
