"""Sizes that images are trained at: batches need one size, pictures come in many.

Sizes are (width, height) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Box(NamedTuple):
    """A rectangle of an image's pixels, from its upper left corner."""

    left: int
    top: int
    width: int
    height: int


BucketOf = Callable[[Size], Size]


def bucket_sizes(resolution: int, *, step: int = 64, longest_ratio: float = 2.0) -> tuple[Size, ...]:
    """The sizes of about resolution² pixels whose sides are multiples of `step`, sorted by width (our choice).

    step: 64 is one cell of the deepest level of Stable Diffusion's UNets: 8 pixels a latent cell, three halvings.
    longest_ratio: of the longer side to the shorter. For every long side the short one is that of the nearest area.
    """
    if step < 1 or resolution < step:
        raise ValueError(
            f"The resolution {resolution} is smaller than one step of {step} pixels: raise the resolution."
        )
    square = step * round(resolution / step)
    sizes = {Size(square, square)}
    for long in range(square, math.ceil(resolution * math.sqrt(longest_ratio)) + step, step):
        short = max(step, step * math.floor(resolution**2 / (long * step) + 0.5))
        if short <= long <= longest_ratio * short:
            sizes |= {Size(long, short), Size(short, long)}
    return tuple(sorted(sizes))


def nearest_bucket(size: Size, buckets: Sequence[Size]) -> Size:
    """The bucket whose ratio of width to height is nearest to the image's, on a logarithmic scale."""
    ratio = math.log(size.width / size.height)
    return min(buckets, key=lambda bucket: (abs(math.log(bucket.width / bucket.height) - ratio), bucket))


def aspect_buckets(resolution: int, *, step: int = 64, longest_ratio: float = 2.0) -> BucketOf:
    """Every image to the nearest of `bucket_sizes`."""
    sizes = bucket_sizes(resolution, step=step, longest_ratio=longest_ratio)
    return lambda size: nearest_bucket(size, sizes)


def shorter_side(resolution: int, *, cell: int = 8, longest_ratio: float = 4.0) -> BucketOf:
    """Every image to `resolution` on its shorter side, the longer one following (arXiv 2312.08195: 512, without crop).

    cell: pixels a latent cell. The longer side is cut to whole cells, so that less than one cell of the picture is
    lost; a panorama beyond `longest_ratio` is cropped to it, lest one image take the memory of a hundred (our choice).
    Made for images of one shape, which it leaves whole; many shapes give many sizes, and a batch holds one size.
    """
    if cell < 1 or resolution < cell or resolution % cell:
        raise ValueError(
            f"The resolution {resolution} is not a multiple of the latent cell of {cell} pixels: give a multiple."
        )

    def bucket(size: Size) -> Size:
        following = resolution * max(size) // min(size)
        longer = cell * (min(following, math.floor(longest_ratio * resolution)) // cell)
        return Size(longer, resolution) if size.width >= size.height else Size(resolution, longer)

    return bucket


def crop_box(size: Size, bucket: Size) -> Box:
    """The largest centred box of an image that has the bucket's ratio, in whole pixels."""
    width = min(size.width, round(size.height * bucket.width / bucket.height))
    height = min(size.height, round(size.width * bucket.height / bucket.width))
    width, height = max(1, width), max(1, height)
    return Box((size.width - width) // 2, (size.height - height) // 2, width, height)


def cropped_away(size: Size, bucket: Size) -> float:
    """The share of an image's area that its bucket leaves out, 0 to 1."""
    box = crop_box(size, bucket)
    return 1 - box.width * box.height / (size.width * size.height)


def fit_to_bucket(image: Tensor, bucket: Size) -> Tensor:
    """An image [3, H, W] in [-1, 1], cropped to the bucket's ratio and resized to it: [3, bucket height, bucket width].

    Cropped before it is resized, so that a long thin picture is never blown up whole.
    """
    box = crop_box(Size(image.shape[2], image.shape[1]), bucket)
    cropped = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
    if (box.width, box.height) == bucket:
        return cropped.clone()
    resized = functional.interpolate(cropped[None], (bucket.height, bucket.width), mode="bicubic", antialias=True)
    return resized[0].clamp(-1, 1)


def sdxl_size_conditioning(bucket: Size) -> Tensor:
    """SDXL's six numbers for an image of this bucket, [6] fp32.

    They are the original height and width, crop top and left, target height and width. The bucket's size is given as
    both sizes and the crop as 0, so that sampling at a bucket's size asks for what was trained.
    """
    return torch.tensor([bucket.height, bucket.width, 0, 0, bucket.height, bucket.width], dtype=torch.float32)
