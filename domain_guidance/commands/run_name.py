"""Choosing the files of a run when several processes make it together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..runs import Process, RunFiles
from ..runs.run_files import OnExisting, RunFileError


@contextmanager
def claimed_run(process: Process, folder: Path, name: str, on_existing: OnExisting) -> Iterator[RunFiles]:
    """The files that process 0 chose and holds until the block ends, in every process.

    Raises RunFileError, in every process, where they cannot be had.
    """
    with ExitStack() as stack:
        files, problem = None, None
        if process.rank == 0:
            try:
                files = stack.enter_context(RunFiles.claim(folder, name, on_existing))
            except RunFileError as error:
                problem = error
        chosen, said = process.of_first((files and files.name, problem and str(problem)))
        if said:
            raise problem or RunFileError(said)
        yield files or RunFiles(folder, chosen)
