"""Names of files that users choose."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

LONGEST = 200  # bytes, which leaves room for endings; most file systems take 255


def is_plain(name: str) -> bool:
    """Whether it names a file by itself: no folder, not hidden, no control character, short enough for a disk."""
    is_text = bool(name) and min(name) >= " " and len(name.encode(errors="replace")) <= LONGEST
    return is_text and not name.startswith(".") and os.path.basename(name.replace("\\", "/")) == name


def versions(name: str) -> Iterator[str]:
    """name, name-2, name-3 and so on, of which the first free one is taken."""
    return itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
