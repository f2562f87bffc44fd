"""Pictures that a user gives to a node: a batch, or a sub-folder of the host's input folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import folder_paths
from torch import Tensor

from ...domain_guidance.data import BatchImages, FolderImages, ImageSource
from .node_text import Say, tell

NO_FOLDER = "none"


def folder_choices() -> list[str]:
    return [NO_FOLDER, *folder_paths.get_input_subfolders()]


def image_source(
    images: Sequence[Tensor] | None, folder: str, node: str, what: str = "images", *, say: Say
) -> ImageSource:
    """What was given, of a list of batches and a folder's name. Of both, the folder: it was chosen by hand.

    say: is told, in one sentence, that the batches are ignored. Raises ValueError, one sentence that names `node`,
    for neither.
    """
    if folder == NO_FOLDER:
        if images is None:
            raise ValueError(
                f"{node} got neither {what} nor a folder: connect {what}, or choose a sub-folder of the input folder."
            )
        return BatchImages(images)
    if images is not None:
        tell(say, f"{node} uses the folder '{folder}' and ignores the connected {what}.")
    return FolderImages(input_folder(folder))


def input_folder(name: str) -> str:
    # A combo is untrusted: the API takes any string.
    root = os.path.realpath(folder_paths.get_input_directory())
    path = os.path.realpath(os.path.join(root, name))
    if os.path.commonpath((root, path)) != root:
        raise ValueError(
            f"The folder '{name}' is outside ComfyUI's input folder: put the images into a sub-folder of it."
        )
    return path


def folder_fingerprint(folder: str) -> str:
    """Changes with the folder's images, which are an input, too. Empty for no folder, or one that is not there."""
    if folder == NO_FOLDER or not os.path.isdir(path := input_folder(folder)):
        return ""
    source = FolderImages(path)
    return hashlib.sha256("\n".join(map(source.stamp, range(len(source)))).encode()).hexdigest()
