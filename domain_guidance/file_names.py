"""Names of files that users choose."""

from __future__ import annotations

import os

LONGEST = 200  # bytes, which leaves room for endings; most file systems take 255


def is_plain(name: str) -> bool:
    """Whether it names a file on its own: no folders, not hidden, no control characters, and short enough for a disk."""
    is_text = bool(name) and min(name) >= " " and len(name.encode(errors="replace")) <= LONGEST
    return is_text and not name.startswith(".") and os.path.basename(name.replace("\\", "/")) == name
