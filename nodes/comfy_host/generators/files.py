"""Generators from and to files.

What others' programs wrote is converted once, and the converted file is read from then on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from ....domain_guidance.generators import (
    GeneratorFile,
    GeneratorFileError,
    read_generator_card,
    read_generator_file,
    write_generator_file,
)
from ....domain_guidance.generators.convert import open_foreign_file, sha256_of
from ....domain_guidance.generators.generator_file import Origin, is_generator_file
from ..free_names import claimed_name
from ..node_text import tell_here
from .folders import FOLDER, output_folder, path_of

CONVERTED = ".safetensors"  # added to the whole name: faces.pkl becomes faces.pkl.safetensors


def load_generator(name: str) -> GeneratorFile:
    """A generator of any format by its name in the list, with weights that can be trained.

    Raises GeneratorFileError, one sentence.
    """
    path = path_of(name)
    with torch.inference_mode(False):
        return read_generator_file(path) if is_generator_file(path) else _converted(path)


def save_generator(file: GeneratorFile, name: str) -> Path:
    """Writes output/generators/<name>.safetensors, or the first free <name>-2, ..., and answers with its path.

    Raises ValueError, one sentence.
    """
    while True:
        with (
            claimed_name(FOLDER, output_folder(), name, "new version") as files,
            _writing(files.result),
            suppress(FileExistsError),  # a file that got the name meanwhile: the next version is free
        ):
            write_generator_file(files.result, file.weights, file.card, free=True)
            return files.result


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"The generator cannot be written to '{path}' ({error.strerror or error}): free some disk space or check "
            "the output folder."
        ) from error


def _converted(path: Path) -> GeneratorFile:
    """The earlier conversion of just these bytes, or a new one."""
    places = [folder / f"{path.name}{CONVERTED}" for folder in (path.parent, output_folder())]
    earlier = {place: _conversion_of(place, path.name) for place in places}
    digest = sha256_of(path)
    for place, origin in earlier.items():
        if origin is not None and origin.sha256 == digest:
            return read_generator_file(place)
    file = open_foreign_file(path, digest)
    _keep(file, path.name, {place: origin is None for place, origin in earlier.items()})
    return file


def _keep(file: GeneratorFile, name: str, places: dict[Path, bool]) -> None:
    """Write the conversion to the first place that takes it; beside the file where that can be written.

    places: of each, whether it has to be free, since what lies there is no earlier conversion.
    """
    for place, free in places.items():
        try:
            write_generator_file(place, file.weights, file.card, free=free)
        except OSError:
            continue
        logging.info(
            "Domain Guidance: '%s' (%s) was converted; from now on, '%s' is loaded instead.",
            name,
            file.card.origin.kind if file.card.origin else file.card.architecture,
            place,
        )
        return
    tell_here(
        "The conversion of '%s' could not be saved anywhere, so the file is converted again at every load.",
        name,
    )


def _conversion_of(place: Path, name: str) -> Origin | None:
    """What an unchanged conversion of some version of `name` was made from.

    None for any other file, which is left alone.
    """
    if not place.is_file():
        return None
    try:
        card = read_generator_card(place)
    except GeneratorFileError:
        return None
    return card.origin if card.origin is not None and card.origin.name == name and not card.training else None
