"""Which of the files that bear a run's name the run wrote itself; all others are another's, and are kept."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        self._new = folder / "new"

    def begin(self) -> None:
        """Start the list of a run that has saved no state yet, unless it was killed and has one.

        A run of an earlier version goes on without a list, and its results count as its own.
        """
        if self._read() is None:
            self._save({})

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """Within the block the run writes the file that it is given, which becomes `path` when the block ends well.

        A file there that the run has not written gets the next free name first, also one that came during the block:
        writing many GB takes minutes. Raises OSError.
        """
        self._new.mkdir(parents=True, exist_ok=True)
        new = self._new / path.name
        try:
            yield new
            if new.exists():
                self._put_in_place(new, path)
        finally:
            new.unlink(missing_ok=True)
            with suppress(OSError):  # in use by what a killed process has left
                self._new.rmdir()

    def _put_in_place(self, new: Path, path: Path) -> None:
        written, mark = self._read(), _mark(new)
        if written is not None and path.exists() and written.get(path.name) != _mark(path):
            _set_aside(path)
        os.replace(new, path)
        if written is not None:
            self._save({**written, path.name: mark})

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
    for version in itertools.islice(versions(path.stem), 1, None):  # the first is the name that it has
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
