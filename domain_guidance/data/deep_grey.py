"""Grey pictures of more than eight bits: what their numbers mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

WHITEST = 65535
# TIFF 6.0, tags of the same names.
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
WHITE_IS_ZERO = 0
TWELVE_BITS = 4095
DARK = (
    "A 16-bit grey picture uses the lowest 12 bits alone and is seen almost black; if it is a scanner's of 12 bits, "
    "spread its levels over all 16"
)


class GreyScale(NamedTuple):
    """white: the largest level. falling: that it means black, and 0 white."""

    white: int
    falling: bool

    @property
    def is_usual(self) -> bool:
        return self == GreyScale(WHITEST, False)


def grey_scale(image: Image.Image) -> GreyScale:
    """How the levels of an opened picture, not yet turned, are to be read; those of most kinds go from 0 to 65535."""
    tags = getattr(image, "tag_v2", None)  # of TIFF, and of no other kind
    if not tags or not is_deep_grey(image):
        return GreyScale(WHITEST, False)
    (bits, *_) = tags.get(BITS_PER_SAMPLE, (16,))
    return GreyScale(min(2**bits - 1, WHITEST), tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)


def is_deep_grey(image: Image.Image) -> bool:
    return image.mode.startswith("I")


def is_dark(image: Image.Image) -> bool:
    """Whether a 16-bit grey picture is likely to be one of 12 bits."""
    if not is_deep_grey(image) or not grey_scale(image).is_usual:
        return False
    return 0 < int(np.asarray(image).max()) <= TWELVE_BITS
