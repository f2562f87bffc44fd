"""Files that are there whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

PART = ".part"
PART_LIFETIME = 3600.0  # seconds without a write; an older part belongs to a killed process


@contextmanager
def replacing(path: Path, *, durable: bool = True, free: bool = False) -> Iterator[Path]:
    """An empty file to write to, which takes the place of `path` when the block ends well and is gone when it does not.

    The result has the permissions of any new file of the user. durable: on the device before the name points to it, so
    that a power cut leaves the old file or the new one. free: `path` must name no file yet, also not one that another
    process makes meanwhile. Raises OSError, FileExistsError where the name is not free.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")
    part.touch(exist_ok=False)
    mode = part.stat().st_mode
    try:
        yield part
        part.chmod(mode)  # safetensors makes files that nobody else may read
        if durable:
            with open(part, "rb+") as written:
                os.fsync(written.fileno())
        (give_free_name if free else os.replace)(part, path)
    finally:
        part.unlink(missing_ok=True)


def give_free_name(part: Path, path: Path) -> None:
    """Names the file `path` in one step that fails, with FileExistsError, where something has that name.

    Its old name may stay beside the new one.
    """
    if os.name == "nt":
        if os.path.lexists(path):  # a file is renamed to its own name without complaint
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
        os.rename(part, path)
        return
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the name is taken first, empty, and then filled
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.replace(part, path)


def save_tensors(
    path: str | os.PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, free: bool = False
) -> None:
    """Writes a safetensors file and its folder: `path` holds the old file or the whole new one, never a part.

    free: see `replacing`. Raises OSError if the disk does not take it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in glob.glob(f".{glob.escape(path.name)}.*{PART}", root_dir=path.parent):
        remove_if_abandoned(path.with_name(name))
    with replacing(path, free=free) as part:
        try:
            save_file(dict(tensors), part, dict(metadata))
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error), os.fspath(path)) from error


def remove_if_abandoned(part: Path) -> None:
    """Removes what a killed process left half written."""
    try:
        if time.time() - part.stat().st_mtime > PART_LIFETIME:
            part.unlink()
    except OSError:  # finished or removed by another process meanwhile, or in a folder that is only read
        return
