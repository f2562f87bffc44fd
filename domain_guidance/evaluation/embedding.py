"""From pictures to features: one size for all of them, batches, and an encoder that a host brings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..data import ImageError, Pictures, Remark, Skipped, because

logger = logging.getLogger(__name__)

LONGEST, LEAST = 8, 32  # of a picture: in shorter sides, and in pixels
OUTSIDE_NAMED = 0.5  # of a picture's area; photographs of the usual shapes lose less


class Encoder(Protocol):
    """An image encoder."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    @property
    def size(self) -> int:
        """The side of its pictures in pixels."""
        ...

    def __call__(self, pixels: Tensor, /) -> Tensor:
        """Return the features [B, D] of pictures [B, 3, size, size] in [-1, 1]."""
        ...


@dataclass(frozen=True)
class Embedded:
    """The features of a source's pictures.

    features: [N, D], float32, on the CPU. places: which pictures of the source they are of. skipped, remarks: what of
    the source is not seen, or not all of it.
    """

    features: Tensor
    places: list[int]
    skipped: tuple[Skipped, ...] = ()
    remarks: tuple[Remark, ...] = ()


def embed(
    source: Pictures, encoder: Encoder, *, batch_size: int = 16, done: Callable[[int], None] = lambda count: None
) -> Embedded:
    """The features of all pictures of a source. done: told after each batch how many pictures were read; it may raise.

    A picture that cannot be read is left out, and named in the log. Raises ValueError where none can, or the encoder
    fails.
    """
    features, places = [], []
    seen = _Seen(source, encoder.size)
    for start in range(0, len(source), batch_size):
        squares = dict(seen.squares(range(start, min(start + batch_size, len(source)))))
        if squares:
            features.append(encoder(torch.stack([*squares.values()])).float().cpu())
            places += squares
        done(min(start + batch_size, len(source)))
    if not features:
        raise ValueError(f"None of the {len(source)} images can be read: {because(seen.skipped)}.")
    found = torch.cat(features)
    if not found.isfinite().all():
        raise ValueError(f"The features of '{encoder.name}' hold NaN or infinity: load it in full precision.")
    return Embedded(found, places, (*seen.skipped, *source.left_out), tuple(seen.remarks))


def centre_square(pixels: Tensor, size: int) -> Tensor:
    """A picture [3, H, W] in [-1, 1] as CLIP reads it, [3, size, size] in [-1, 1].

    The shorter side is resized to `size`, bicubic, and the middle cut out, in 8-bit levels (Radford et al. 2021, arXiv
    2103.00020; antialiased, as in their release).
    """
    pixels = _without_far_ends(pixels)
    height, width = pixels.shape[1:]
    if (height, width) != (size, size):
        scale = size / min(height, width)
        shape = (max(size, round(scale * height)), max(size, round(scale * width)))
        pixels = interpolate(pixels[None], shape, mode="bicubic", antialias=True)[0]
    top, left = (pixels.shape[1] - size) // 2, (pixels.shape[2] - size) // 2
    levels = ((pixels[:, top : top + size, left : left + size].clamp(-1, 1) + 1) * 127.5).round()
    return levels / 127.5 - 1


def _without_far_ends(pixels: Tensor) -> Tensor:
    """A picture of which only the middle counts, no longer than `LONGEST` times its shorter side.

    A strip of 4 by 20000 pixels would else be resized to one of 3 GB. What is cut is far from what the filter reads.
    """
    longest = max(LONGEST * min(pixels.shape[1:]), LEAST)
    for axis in (1, 2):
        length = pixels.shape[axis]
        if length > longest:
            kept = longest + (length - longest) % 2  # so that the middle stays where it is
            pixels = pixels.narrow(axis, (length - kept) // 2, kept)
    return pixels


class _Seen:
    """Pictures as an encoder sees them, and what is lost on the way."""

    def __init__(self, source: Pictures, size: int):
        self._source, self._size = source, size
        self.skipped: list[Skipped] = []
        self.remarks: list[Remark] = []

    def squares(self, places: Iterable[int]) -> Iterator[tuple[int, Tensor]]:
        """Every picture of these places that can be read, as `centre_square` makes it."""
        for index in places:
            name = self._source.name(index)
            try:
                pixels = self._source.load(index)
            except ImageError as error:
                logger.warning("'%s' is left out, because %s.", name, error)
                self.skipped.append(Skipped(name, str(error)))
                continue
            self.remarks += self._remarks(index, name, pixels.shape[1:])
            yield index, centre_square(pixels, self._size)

    def _remarks(self, index: int, name: str, shape: torch.Size) -> Iterator[Remark]:
        if remark := self._source.remark(index):
            yield Remark(name, remark)
        lost = 1 - min(shape) / max(shape)
        if lost > OUTSIDE_NAMED:
            text = f"More than {OUTSIDE_NAMED:.0%} of a picture is outside of the central square that is compared"
            yield Remark(name, text, f"{lost:.0%}")
