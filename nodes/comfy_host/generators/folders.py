"""The model folder of generators, models/generators and output/generators."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import folder_paths

from ....domain_guidance.generators import GeneratorFileError

FOLDER = "generators"
EXTENSIONS = (".pkl", ".pt", ".pth", ".safetensors")


def register_folder() -> None:
    """Makes the folder known to the host's lists of files. Called once, when the pack is loaded."""
    models = os.path.join(folder_paths.models_dir, FOLDER)
    for folder in (models, output_folder()):
        folder_paths.add_model_folder_path(FOLDER, str(folder))
    # The host registers a new name without extensions, which lists every file.
    folder_paths.folder_names_and_paths[FOLDER][1].update(EXTENSIONS)
    with suppress(OSError):  # an installation that is only read
        os.makedirs(models, exist_ok=True)


def output_folder() -> Path:
    return Path(folder_paths.get_output_directory(), FOLDER)


def listed() -> list[str]:
    return folder_paths.get_filename_list(FOLDER)


def path_of(name: str) -> Path:
    """The file of a name on the list. Raises GeneratorFileError, one sentence."""
    # A combo is untrusted: the API takes any string, and only a listed name is safe.
    if name not in listed():
        raise GeneratorFileError(
            f"'{name}' is not in the generators folders of this ComfyUI: put the generator's file into "
            f"models/{FOLDER} and press R to refresh."
        )
    return Path(folder_paths.get_full_path_or_raise(FOLDER, name))
