"""Names of results that no folder of the host's loaders has already, so that a name means one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths

from ...domain_guidance.files.file_names import refusal
from ...domain_guidance.runs import RunFiles
from ...domain_guidance.runs.run_files import SUFFIX, OnExisting
from .node_text import tell_here


def check_name(name: str) -> None:
    """To be called before the work whose result gets the name. Raises ValueError where no new file may have it."""
    if problem := refusal(name.removesuffix(SUFFIX)):
        raise ValueError(problem)


@contextmanager
def claimed_name(kind: str, folder: str | os.PathLike, name: str, on_existing: OnExisting) -> Iterator[RunFiles]:
    """Files in `folder` under a name that no search folder of `kind` has, held until the block ends.

    A run that goes on keeps its name, and it is said where loaders find another file by it. Raises ValueError.
    """
    folder = os.fspath(folder)
    with RunFiles.claim(folder, name, on_existing, lambda version: bool(_elsewhere(kind, folder, version))) as files:
        if found := _elsewhere(kind, folder, files.name):
            tell_here(
                "The run '%s' continues, but the loaders will find '%s', which has the same name: rename one of them.",
                files.name,
                found[0],
            )
        yield files


def _elsewhere(kind: str, folder: str, name: str) -> list[str]:
    """The files in other search folders that the result, or the best of a run, would be mistaken for."""
    own = os.path.realpath(folder)
    others = [place for place in folder_paths.get_folder_paths(kind) if os.path.realpath(place) != own]
    files = RunFiles(Path(folder), name)
    paths = [os.path.join(place, file.name) for place in others for file in (files.result, files.best)]
    return [path for path in paths if os.path.exists(path)]
