"""Where training images come from: a folder of files, or a batch of pictures in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from .images import (
    EXTENSIONS,
    TIFF,
    ImageError,
    UnreadableImage,
    darkness,
    has_unusual_grey,
    is_animation,
    read_image,
)
from .left_out import Skipped, because

CHUNK = 1 << 20
ANIMATION = "Only the first picture of an animation is used"
HIDDEN = "it is hidden (its name begins with a dot): rename it to use it"
LINKED_FOLDER = "it is a link to a folder, and those are not followed: put the folder itself there to use it"
NO_FILE = "it is neither a file nor a folder"


class Pictures(Protocol):
    """Numbered pictures that are read one at a time.

    left_out: what a user may take for a picture of the source and is none, each with the reason.
    """

    @property
    def left_out(self) -> Sequence[Skipped]: ...

    def __len__(self) -> int: ...

    def load(self, index: int) -> Tensor:
        """The picture, [3, H, W] in [-1, 1]. Raises ImageError."""
        ...

    def name(self, index: int) -> str:
        """What a user calls it."""
        ...

    def remark(self, index: int) -> str:
        """The text of a `Remark` on an image that `load` can read; empty for most."""
        ...


class ImageSource(Pictures, Protocol):
    """Pictures whose content is known by keys, so that what was made of them can be found again."""

    def content_key(self, index: int) -> str:
        """A hash of its content, hexadecimal: the same content has the same key under every name. Raises ImageError."""
        ...

    def stamp(self, index: int) -> str:
        """A cheap hint of the content, which is taken as unchanged where the stamp is."""
        ...


@dataclass(frozen=True)
class ImageFile:
    """A file as the folder listed it. path: absolute. size in bytes, modified in nanoseconds."""

    name: str
    path: str
    size: int
    modified: int


class FolderImages:
    """The images in a folder and its sub-folders, sorted by their path within it.

    Listing reads no file. left_out: files of other kinds, hidden files and folders, links to folders.
    Raises ValueError if the folder is not there or holds no image.
    """

    def __init__(self, folder: str | os.PathLike):
        root = Path(folder).resolve()
        if not root.is_dir():
            raise ValueError(f"There is no image folder '{folder}': check its path.")
        found = sorted(_found(root), key=lambda one: one.name)
        self.files = [one for one in found if isinstance(one, ImageFile)]
        self.left_out = tuple(one for one in found if isinstance(one, Skipped))
        if not self.files:
            there = f" (there is {because(self.left_out)})" if self.left_out else ""
            raise ValueError(
                f"The folder '{folder}' holds no images{there}: put files of these kinds into it: {_kinds()}."
            )

    def __len__(self) -> int:
        return len(self.files)

    def load(self, index: int) -> Tensor:
        return read_image(self.files[index].path)

    def name(self, index: int) -> str:
        return self.files[index].name

    def content_key(self, index: int) -> str:
        digest = hashlib.sha256()
        try:
            with open(self.files[index].path, "rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
        except OSError as error:
            raise UnreadableImage(
                f"it cannot be read ({error.strerror}): check the file and its permissions"
            ) from error
        # Earlier releases read such a file otherwise, and cached it under the hash of its content alone.
        if self._is_tiff(index) and has_unusual_grey(self.files[index].path):
            digest.update(b"grey of its own scale")
        return digest.hexdigest()

    def stamp(self, index: int) -> str:
        file = self.files[index]
        reader = "|2" if self._is_tiff(index) else ""  # so that what was known of it is not taken for its key
        return f"{file.path}|{file.size}|{file.modified}{reader}"

    def remark(self, index: int) -> str:
        path = self.files[index].path
        return ANIMATION if is_animation(path) else darkness(path)

    def _is_tiff(self, index: int) -> bool:
        return self.files[index].name.lower().endswith(TIFF)


class BatchImages:
    """Pictures in memory: a batch [B, H, W, 3] in [0, 1] as ComfyUI's IMAGE, or several, each of its own size.

    Of four channels the last is transparency, which is laid over white.

    Raises ValueError if it is something else.
    """

    def __init__(self, images: Tensor | Sequence[Tensor]):
        batches = [images] if isinstance(images, Tensor) else images
        for batch in batches:
            _check_batch(batch)
        self.images = [image for batch in batches for image in batch.detach()]
        self.left_out: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Tensor:
        image = self.images[index].float().cpu()
        if not torch.isfinite(image).all():
            raise ImageError("it holds NaN or infinity: check what produced it")
        colour, alpha = image[:, :, :3].clamp(0, 1), image[:, :, 3:].clamp(0, 1)
        if alpha.shape[2]:
            colour = colour * alpha + (1 - alpha)
        return (colour * 2 - 1).permute(2, 0, 1).contiguous()

    def name(self, index: int) -> str:
        return f"image {index + 1} of the batch"

    def content_key(self, index: int) -> str:
        image = self.images[index].float().cpu().contiguous()
        digest = hashlib.sha256(str(list(image.shape)).encode())
        digest.update(image.numpy().data)
        return digest.hexdigest()

    def stamp(self, index: int) -> str:
        return self.content_key(index)  # in memory the truth is as near as any hint

    def remark(self, index: int) -> str:
        return ""


def _check_batch(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[3] not in (3, 4) or not images.is_floating_point() or not images.numel():
        raise ValueError(
            f"The images are a {str(images.dtype).removeprefix('torch.')} tensor of shape {list(images.shape)}, "
            "expected [batch, height, width, 3] with values from 0 to 1: connect an IMAGE."
        )


def _found(root: Path) -> Iterator[ImageFile | Skipped]:
    folders = [str(root)]
    while folders:
        for entry in _entries(folders.pop()):
            if reason := _reason_against(entry):
                yield Skipped(_name(entry, root), reason)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                yield _image_file(entry, root)


def _reason_against(entry: os.DirEntry) -> str:
    """Why a folder's entry is not looked at; empty if it is."""
    if entry.name.startswith("."):
        return HIDDEN
    try:
        return _reason_against_kind(entry)
    except OSError as error:  # a link to itself, or into a file
        return f"it cannot be looked at ({error.strerror}): check it, and where it leads"


def _reason_against_kind(entry: os.DirEntry) -> str:
    if entry.is_dir():
        return LINKED_FOLDER if _is_link(entry) else ""
    if os.path.splitext(entry.name)[1].lower() not in EXTENSIONS:
        return f"it is not of a kind that is read here ({_kinds()})"
    # A link to nowhere is no file either; reading it will say so.
    return "" if entry.is_file() or entry.is_symlink() else NO_FILE


def _is_link(entry: os.DirEntry) -> bool:
    # Windows' own links to folders; Python knows them from 3.12 on.
    is_junction = getattr(entry, "is_junction", lambda: False)
    return entry.is_symlink() or is_junction()


def _kinds() -> str:
    return ", ".join(sorted(extension[1:] for extension in EXTENSIONS))


def _name(entry: os.DirEntry, root: Path) -> str:
    return Path(entry.path).relative_to(root).as_posix()


def _entries(folder: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ValueError(
            f"The image folder '{folder}' cannot be listed ({error.strerror}): check its permissions."
        ) from error


def _image_file(entry: os.DirEntry, root: Path) -> ImageFile:
    try:
        facts = entry.stat()
        size, modified = facts.st_size, facts.st_mtime_ns
    except OSError:  # a link to nowhere, or a file deleted meanwhile: reading it will name it
        size, modified = -1, -1
    return ImageFile(_name(entry, root), entry.path, size, modified)
