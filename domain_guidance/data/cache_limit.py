"""Keeping the latent cache from growing for ever: over its limit, the entries that were used longest ago go.

The time of an entry's file is when it was last used. Removing is one unlink an entry, so a kill leaves a smaller cache
and nothing half done. A training that loses an entry to another one encodes that image again, but it should not have
to: what was used within a day stays, whatever the size.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .latent_store import SUFFIX

LIMIT = (
    50 * 10**9
)  # bytes; half a million pictures of 512 pixels squared, or a hundred thousand of 1024, in four channels
IN_USE = 24 * 3600.0  # seconds
FOLDERS = f"v[0-9]*/{'[0-9a-f]' * 16}/??"  # layout, VAE, first letters of the key: nothing else is ever looked at


class Removed(NamedTuple):
    """What a trim took away. last_used: of the youngest entry that went, in seconds since the epoch."""

    entries: int
    bytes: int
    last_used: float


class _Entry(NamedTuple):
    used: float
    size: int
    path: str


def trim(folder: Path, limit: int = LIMIT) -> Removed:
    """Removes entries of all VAEs, least recently used first, until the cache in `folder` takes at most `limit` bytes.

    Safe beside trainings and other trims: what has been used since it was listed stays, and so does what cannot be
    removed.
    """
    entries = list(_entries(folder))
    excess, gone = sum(entry.size for entry in entries) - limit, []
    for entry in sorted(entries) if excess > 0 else ():
        if excess <= 0 or time.time() - entry.used < IN_USE:
            break
        try:
            if os.stat(entry.path).st_mtime > entry.used:
                continue
            os.unlink(entry.path)
            gone.append(entry)
        except FileNotFoundError:  # another trim was faster
            pass
        except OSError:
            continue
        excess -= entry.size
    return Removed(len(gone), sum(entry.size for entry in gone), gone[-1].used if gone else 0.0)


def _entries(folder: Path) -> Iterator[_Entry]:
    for place in folder.glob(FOLDERS):
        with os.scandir(place) as files:
            for file in files:
                try:
                    if file.name.endswith(SUFFIX):
                        found = file.stat()
                        yield _Entry(found.st_mtime, found.st_size, file.path)
                except FileNotFoundError:  # removed since it was listed
                    continue
