"""The images that training never sees, to tell learning from memorising."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

SHARE = 10  # one image in ten
AT_LEAST = 4


@dataclass(frozen=True)
class Split:
    """Positions of the images to train on and of those held out, ascending; note: one sentence for the user."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    note: str


def split(keys: Sequence[str]) -> Split:
    """Hold out a tenth of the images, at least 4, chosen by content alone.

    keys: the content keys. Copies of one picture fall on the same side, or the held-out loss would measure memory.
    Names and order do not matter, and added images move few of the old ones to the other side.

    Fewer than 8 different images: none is held out (our choice). Fewer than 4 held-out images give a curve of noise,
    and 4 would be more than half of all; for so few the samples are the better judge.
    """
    unique = sorted(set(keys), key=lambda key: hashlib.sha256(f"held out {key}".encode()).digest())
    count = max(AT_LEAST, len(unique) // SHARE)
    if len(unique) < 2 * AT_LEAST:
        note = (
            f"{len(unique)} different images are too few to hold some out: there is no held-out loss, so judge "
            "by the samples."
        )
        return Split(tuple(range(len(keys))), (), note)
    chosen = set(unique[:count])
    held_out = tuple(position for position, key in enumerate(keys) if key in chosen)
    train = tuple(position for position, key in enumerate(keys) if key not in chosen)
    return Split(train, held_out, f"{len(held_out)} of {len(keys)} images are held out and never trained on.")
