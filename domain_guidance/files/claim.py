"""A name that one living process holds: what it makes there no other process makes meanwhile."""

from __future__ import annotations

import errno
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

# File systems without locks, of some network shares and FUSE mounts.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}


class Claim:
    """The lock of a file, which the system lets go when its holder ends, however it ends; so none is ever stale.

    Where the file system has no locks, every claim is granted, and that is logged.
    """

    def __init__(self, path: Path):
        self._path, self._file = path, None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def take(self) -> bool:
        """Hold the lock, with its file and folder made; False where another holds it. Raises OSError."""
        while self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = open(self._path, "ab")  # noqa: SIM115 (held until the release)
            except FileNotFoundError:  # its last holder removed the folder meanwhile
                continue
            if not _locked(file):
                file.close()
                return False
            if self._names(file):
                self._file = file
            else:  # its last holder removed it between opening and locking
                file.close()
        return True

    def release(self) -> None:
        """Let it go, and remove its file, and its folder where nothing else is in it."""
        if self._file is None:
            return
        if sys.platform == "win32":  # where an open file cannot be removed, nor one that another has opened meanwhile
            self._file.close()
        with suppress(OSError):
            self._path.unlink()  # elsewhere while it is held, so that nobody locks what is about to go
        self._file.close()
        self._file = None
        with suppress(OSError):
            self._path.parent.rmdir()

    def _names(self, file) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False


def _locked(file) -> bool:
    try:
        _lock(file)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno not in _NO_LOCKS:
            raise
        logging.warning(
            "Domain Guidance: the file system of '%s' has no locks, so two processes must not write there at once.",
            file.name,
        )
    return True


def _lock(file) -> None:
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
