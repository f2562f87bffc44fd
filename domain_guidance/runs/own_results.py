"""Which of the files that bear a run's name the run wrote itself; all others are another's, and are kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files.atomic_file import give_free_name, replacing
from ..files.file_names import versions

logger = logging.getLogger(__name__)

HEAD = 1 << 20  # bytes of a file that tell it from others, with its size: a result's card lies there


class OwnResults:
    """A list, in the folder of a run, of what the run has written beside it.

    Hours pass between a run's start and its result, and meanwhile somebody may put a file of that very name there.
    """

    def __init__(self, folder: Path):
        self._list = folder / "results.json"

    def begin(self) -> None:
        """Start the list of a run that has saved no state yet, unless it was killed and has one.

        A run of an earlier version goes on without a list, and its results count as its own.
        """
        if self._read() is None:
            self._save({})

    @contextmanager
    def replacing(self, path: Path) -> Iterator[None]:
        """Within the block the run writes `path`; a file there that it has not written gets the next free name first.

        Raises OSError.
        """
        written = self._read()
        if written is not None and path.exists() and written.get(path.name) != _mark(path):
            _set_aside(path)
        yield
        if written is not None and path.exists():
            self._save({**written, path.name: _mark(path)})

    def _read(self) -> dict[str, str] | None:
        try:
            return json.loads(self._list.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def _save(self, written: dict[str, str]) -> None:
        with replacing(self._list) as part:
            part.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def _mark(path: Path) -> str:
    with open(path, "rb") as file:
        return f"{os.fstat(file.fileno()).st_size} bytes, {hashlib.sha256(file.read(HEAD)).hexdigest()}"


def _set_aside(path: Path) -> None:
    for version in versions(path.stem):
        aside = path.with_name(version + path.suffix)
        try:
            give_free_name(path, aside)
        except FileExistsError:
            continue
        path.unlink(missing_ok=True)
        logger.warning(
            "A file that this run did not write has its name, '%s'; that file is kept as '%s'.", path.name, aside.name
        )
        return
