"""The VAE's posteriors on disk: one small safetensors file for an image and its mirror.

One file an image, and not shards: every write is then one atomic rename, ranks share nothing, a damaged file costs one
image, and a step reads only what it draws. 256 sub-folders keep the listings of 100,000 images short.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..files.atomic_file import PART, remove_if_abandoned, replacing
from .buckets import Size

SIDES = ("image", "mirror")
SUFFIX = ".safetensors"


class Posterior(NamedTuple):
    """A diagonal Gaussian over latents [..., C, h, w] in the VAE's own scale; without logvar the point `mean`."""

    mean: Tensor
    logvar: Tensor | None


class DamagedEntry(ValueError):
    """An entry that is missing or not as it was written."""


class LatentStore:
    """The entries of one VAE. vae: the caller's fingerprint of it, any text."""

    def __init__(self, folder: Path, vae: str):
        self.vae = hashlib.sha256(vae.encode()).hexdigest()[:16]
        self._folder = folder / self.vae

    def names(self) -> set[str]:
        """The names of all entries, from one listing of each sub-folder; no entry is opened."""
        names = set()
        for folder in self._folder.glob("??"):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith(SUFFIX):
                        names.add(entry.name)
                    elif entry.name.endswith(PART):
                        remove_if_abandoned(Path(entry.path))
        return names

    def write(self, key: str, bucket: Size, image: Posterior, mirror: Posterior) -> int:
        """Put an entry there, whole or not at all; its size in bytes. Posteriors [C, h, w] are stored in fp16.

        Not flushed to the device, which would cost more than encoding on a slow disk: what a power cut tears, the
        checksum finds. Raises OSError.
        """
        sides = {side: _tensors(side, posterior) for side, posterior in zip(SIDES, (image, mirror))}
        checksums = {side: _checksum(tensors) for side, tensors in sides.items()}
        data = save({name: tensor for tensors in sides.values() for name, tensor in tensors.items()}, checksums)
        path = self._path(key, bucket)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as part:
            part.write_bytes(data)
        return len(data)

    def read(self, key: str, bucket: Size, mirrored: bool) -> Posterior:
        """The posterior of the image or of its mirror, fp16, checked. Raises DamagedEntry."""
        side, path = SIDES[mirrored], self._path(key, bucket)
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                checksum = (file.metadata() or {}).get(side)
                # Mapped, they would keep a damaged entry from being replaced on Windows.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys() if name.startswith(f"{side}.")}
        except (OSError, SafetensorError) as error:
            raise DamagedEntry(f"'{path.name}' cannot be read ({error})") from error
        if checksum != _checksum(tensors):
            raise DamagedEntry(f"'{path.name}' does not match its checksum")
        self.mark_used(key, bucket)
        return Posterior(tensors[f"{side}.mean"], tensors.get(f"{side}.logvar"))

    def mark_used(self, key: str, bucket: Size) -> None:
        """Set the entry's time to now, by which `cache_limit.trim` goes."""
        try:
            os.utime(self._path(key, bucket))
        except OSError:  # not there, or in a cache that is only read
            return

    def size(self, key: str, bucket: Size) -> int:
        """Bytes on disk of one entry, 0 if it is missing."""
        path = self._path(key, bucket)
        return path.stat().st_size if path.is_file() else 0

    def _path(self, key: str, bucket: Size) -> Path:
        return self._folder / key[:2] / entry_name(key, bucket)


def entry_name(key: str, bucket: Size) -> str:
    return f"{key}-{bucket}{SUFFIX}"


def _tensors(side: str, posterior: Posterior) -> dict[str, Tensor]:
    parts = {f"{side}.{part}": values for part, values in posterior._asdict().items() if values is not None}
    return {name: values.detach().to("cpu", torch.float16).contiguous() for name, values in parts.items()}


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Over names, types and shapes too: a flipped bit in the header must not pass for another tensor."""
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, value)
    return f"{value:08x}"
