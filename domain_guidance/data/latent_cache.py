"""Images to latents, once: the VAE's posterior of every image and of its mirror, kept on disk between runs.

An entry is found by the image's content, its bucket and the VAE. So a renamed file is not encoded again, a changed one
is, and size and time of a file are only a hint that spares reading it.

The folder can be deleted to empty the cache, best while no training runs; by itself it keeps to a limit
(`cache_limit`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .buckets import BucketOf, Size, cropped_away, fit_to_bucket
from .cache_limit import LIMIT, trim
from .cached_latents import CachedImage, CachedLatents
from .image_facts import Fact, ImageFacts, Unusable, Usable
from .images import ImageError, UnreadableImage
from .latent_store import LatentStore, Posterior, entry_name
from .left_out import Remark, Skipped, because
from .sources import ImageSource

LAYOUT = "v1"  # of the files, of reading and of resizing: a change of any makes every older entry another thing
CROP_NAMED = 0.3  # of a picture's area; photographs of the usual shapes lose less
AUTOCASTING = ("cpu", "cuda", "xpu", "mps")  # the devices whose arithmetic autocast may narrow
WAITING = 16  # resized images held at most while their buckets fill up

Encode = Callable[[Tensor], tuple[Tensor, Tensor | None]]


class LatentCacheError(ValueError):
    """The cache as a whole cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Encoded:
    """`done` of the `total` images of this rank are settled; `bytes` were written in this call so far."""

    done: int
    total: int
    bytes: int


@dataclass(frozen=True)
class _Ready:
    index: int
    key: str
    bucket: Size
    pixels: Tensor


class LatentCache:
    """The cache of one image source, one VAE and one choice of buckets, in a folder that others may share.

    encode: pixels [B, 3, H, W] in [-1, 1], fp32, on the CPU -> posterior mean and log-variance, [B, C, h, w], in the
    VAE's
        own scale; None for the log-variance of a VAE without a posterior.
    vae: a text that differs between VAEs, a fingerprint of the weights. bucket_of: `aspect_buckets` or `shorter_side`.
    cell: pixels a latent cell. rank, world: this process and how many there are; rank r settles images r, r + world,
    ...
    limit: bytes that a new training leaves of what other trainings have put there, see `cache_limit.trim`.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        source: ImageSource,
        encode: Encode,
        *,
        vae: str,
        bucket_of: BucketOf,
        cell: int = 8,
        rank: int = 0,
        world: int = 1,
        limit: int = LIMIT,
    ):
        if not 0 <= rank < world:
            raise ValueError(f"Rank {rank} of {world} processes was asked for: ranks run from 0 to {world - 1}.")
        self._folder = Path(folder) / LAYOUT
        self._source, self._encode, self._bucket_of = source, encode, bucket_of
        self._cell, self._rank, self._world, self._limit = cell, rank, world, limit
        self._store = LatentStore(self._folder, vae)

    def fill(self, batch_size: int = 4) -> Iterator[Encoded | Skipped]:
        """Encode what is missing of this rank's share, `batch_size` (at most 16) at a time, telling what happens.

        Before any work come the images known to be unusable and one `Encoded` that counts what is settled already. It
        can be abandoned after every event, and killed at any time: the next call goes on with the images that are
        missing. Raises LatentCacheError if the folder cannot be written, ValueError if the VAE gives values that are
        not finite.
        """
        share, facts = range(self._rank, len(self._source), self._world), ImageFacts(self._folder, self._rank)
        if self._rank == 0:
            self._make_room(facts)
        present = self._store.names()
        known = {index: facts.of_stamp(self._source.stamp(index)) for index in share}
        todo = [index for index in share if not self._is_settled(known[index], present)]
        for index in sorted(set(share) - set(todo)):
            if (fact := known[index]) is not None and (reason := self._refusal(fact)):
                yield Skipped(self._source.name(index), reason)
        done, written = len(share) - len(todo), 0
        yield Encoded(done, len(share), written)
        for batch, others in self._batches(todo, facts, present, batch_size):
            yield from filter(None, others)
            written += self._encode_batch(batch, present)
            done += len(batch) + len(others)
            yield Encoded(done, len(share), written)

    def open(self, minimum: int = 2) -> CachedLatents:
        """All images of the source that can be used, every rank's: call it when every rank's `fill` has ended.

        minimum: how many usable images a training needs. Nothing but the facts is read.
        Raises LatentCacheError if an image was never looked at or too few can be used.
        """
        facts, images, skipped = ImageFacts(self._folder, self._rank), [], []
        remarks: list[Remark] = []
        for index in range(len(self._source)):
            name, fact = self._source.name(index), facts.of_stamp(self._source.stamp(index))
            if fact is None:
                raise LatentCacheError(
                    f"'{name}' is not in the latent cache yet: let every process fill its share first."
                )
            if (reason := self._refusal(fact)) or isinstance(fact, Unusable):
                skipped.append(Skipped(name, reason))
            else:
                images.append(CachedImage(index, name, fact.key, self._bucket_of(fact.size)))
                remarks += self._remarks(name, fact)
        skipped += self._source.left_out
        if len(images) < minimum:
            raise LatentCacheError(_too_few(len(images), len(self._source), minimum, skipped))
        return CachedLatents(images, skipped, self._store, self._restore, remarks)

    def _remarks(self, name: str, fact: Usable) -> Iterator[Remark]:
        if fact.remark:
            yield Remark(name, fact.remark)
        lost = cropped_away(fact.size, self._bucket_of(fact.size))
        if lost > CROP_NAMED:
            text = (
                f"More than {CROP_NAMED:.0%} of a picture is cropped away, for training takes no shapes that long; "
                "cut it into parts to use all of it"
            )
            yield Remark(name, text, f"{lost:.0%}")

    def _make_room(self, facts: ImageFacts) -> None:
        """Remove what has not been used for long, but nothing of this source, which from now on is in use."""
        for index in range(len(self._source)):
            fact = facts.of_stamp(self._source.stamp(index))
            if isinstance(fact, Usable):
                self._store.mark_used(fact.key, self._bucket_of(fact.size))
        removed = trim(self._folder.parent, self._limit)
        if removed.entries:
            logging.info(
                "Latent cache: %d entries (%.3g GB) that no training has used since %s were removed, because '%s' is "
                "kept to %.3g GB; delete that folder to empty it.",
                removed.entries,
                removed.bytes / 1e9,
                time.strftime("%Y-%m-%d", time.localtime(removed.last_used)),
                self._folder.parent,
                self._limit / 1e9,
            )

    def _is_settled(self, fact: Fact | None, present: set[str]) -> bool:
        if isinstance(fact, Unusable):
            return not fact.try_again
        return fact is not None and bool(self._refusal(fact) or self._entry(fact) in present)

    def _entry(self, fact: Usable) -> str:
        return entry_name(fact.key, self._bucket_of(fact.size))

    def _refusal(self, fact: Fact) -> str:
        if isinstance(fact, Unusable):
            return fact.reason
        if min(fact.size) < self._cell:
            return (
                f"it is smaller ({fact.size}) than one latent cell ({self._cell}x{self._cell} pixels): use a larger one"
            )
        return ""

    def _batches(
        self, todo: Sequence[int], facts: ImageFacts, present: set[str], batch_size: int
    ) -> Iterator[tuple[list[_Ready], list[Skipped | None]]]:
        """Batches of one bucket, in the order in which they get full, each with what was settled without encoding."""
        waiting: dict[Size, list[_Ready]] = {}
        others: list[Skipped | None] = []
        for index in todo:
            outcome = self._examine(index, facts, present)
            if isinstance(outcome, _Ready):
                waiting.setdefault(outcome.bucket, []).append(outcome)
            else:
                others.append(outcome)
            fullest = max(waiting, key=lambda bucket: len(waiting[bucket]), default=None)
            if fullest is not None and (
                len(waiting[fullest]) >= batch_size or sum(map(len, waiting.values())) >= WAITING
            ):
                yield waiting.pop(fullest), others
                others = []
            elif len(others) >= WAITING:  # a long row of renamed files, say: the listener hears of them and may stop
                yield [], others
                others = []
        for batch in waiting.values():
            yield batch, others
            others = []
        if others:
            yield [], others

    def _examine(self, index: int, facts: ImageFacts, present: set[str]) -> _Ready | Skipped | None:
        """Read an image, unless its content turns out to be known; None if it is in the cache already."""
        pixels = None
        try:
            key = self._source.content_key(index)
            fact = facts.of_key(key)
            if fact is None or not self._is_settled(fact, present):
                pixels = self._source.load(index)
                fact = Usable(key, Size(pixels.shape[2], pixels.shape[1]), self._source.remark(index))
        except ImageError as error:
            fact = Unusable(str(error), try_again=isinstance(error, UnreadableImage))
        with self._writing():
            facts.add(self._source.stamp(index), fact)
        if (reason := self._refusal(fact)) or isinstance(fact, Unusable):
            return Skipped(self._source.name(index), reason)
        if pixels is None:
            return None
        bucket = self._bucket_of(fact.size)
        return _Ready(index, fact.key, bucket, fit_to_bucket(pixels, bucket))

    def _encode_batch(self, batch: Sequence[_Ready], present: set[str]) -> int:
        if not batch:
            return 0
        pixels = torch.stack([ready.pixels for ready in batch])
        # Two calls, so that `batch_size` is what the VAE sees; the latent of a mirror is not the mirror of the latent.
        images, mirrors = self._posteriors(pixels, batch), self._posteriors(pixels.flip(-1), batch)
        written = 0
        for ready, image, mirror in zip(batch, images, mirrors):
            with self._writing():
                written += self._store.write(ready.key, ready.bucket, image, mirror)
            present.add(entry_name(ready.key, ready.bucket))
        return written

    @torch.no_grad()
    def _posteriors(self, pixels: Tensor, batch: Sequence[_Ready]) -> list[Posterior]:
        with _plain_arithmetic():
            mean, logvar = self._encode(pixels)
        posteriors = [Posterior(m, None if logvar is None else logvar[i]) for i, m in enumerate(mean)]
        for ready, posterior in zip(batch, posteriors):
            if not all(torch.isfinite(part.half()).all() for part in posterior if part is not None):
                raise ValueError(
                    f"The VAE's latent of '{self._source.name(ready.index)}' holds NaN, infinity or values beyond "
                    "fp16: run the VAE in fp32."
                )
        return posteriors

    def _restore(self, image: CachedImage, damage: str) -> None:
        """Encode again what was cached and is no longer there as it was written."""
        logging.warning("Latent cache: %s; '%s' is encoded again.", damage, image.name)
        try:
            if self._source.content_key(image.index) != image.key:
                raise ImageError("it has changed meanwhile")
            pixels = fit_to_bucket(self._source.load(image.index), image.bucket)
        except ImageError as error:
            raise LatentCacheError(
                f"The latents of '{image.name}' are damaged and the image cannot be encoded again, because {error}; "
                "start the training again with the images as they are now."
            ) from error
        self._encode_batch([_Ready(image.index, image.key, image.bucket, pixels)], set())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LatentCacheError(
                f"The latent cache '{self._folder.parent}' cannot be written ({error.strerror}): free some space or "
                "choose a folder that can be written; what is in it already stays."
            ) from error


@contextmanager
def _plain_arithmetic() -> Iterator[None]:
    """The encoder's own precision: what is encoded again in a training step would stay as narrow as that step."""
    with ExitStack() as stack:
        for kind in filter(torch.amp.is_autocast_available, AUTOCASTING):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _too_few(used: int, total: int, minimum: int, skipped: Sequence[Skipped]) -> str:
    others = f"; {because(skipped)}" if skipped else ""
    return f"{used} of {total} images can be used and training needs at least {minimum}: add images{others}."
