"""One run at a time makes an environment: two would empty it under each other's hands."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from . import LauncherError
from .aloud import SILENCE, Clock


@contextmanager
def alone(folder: Path, silence: float = SILENCE) -> Iterator[None]:
    """Keep other runs away from `folder`, which need not exist yet; wait while one of them keeps this one away."""
    file = folder.with_name(f"{folder.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("ab")
    except OSError as problem:
        raise LauncherError(
            f"{file.parent} cannot be written into ({problem.strerror}), and what is missing would be installed there: "
            "use a clone in a folder of your own"
        ) from None
    with lock:  # to close it is to let go, which the system also does for a run that is killed
        clock = Clock(f"waiting for another run that installs into {folder}", silence)
        while not _taken(lock):
            clock.tick()
            time.sleep(0.2)
        yield


def _taken(lock: IO[bytes]) -> bool:
    try:
        _take(lock)
    except (BlockingIOError, PermissionError):  # how Unix and Windows say that another process has it
        return False
    except OSError:
        return True  # a network drive without locks: better to go on than to refuse
    return True


if sys.platform == "win32":
    import msvcrt

    def _take(lock: IO[bytes]) -> None:
        lock.seek(0)
        msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(lock: IO[bytes]) -> None:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
