"""Foreign generator files as tensors.

Nothing of a file is executed: it is read by our own pickle machine, which cannot import.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import GeneratorFileError, Refused, about
from ..names import check_architecture, from_rosinality, without_filters
from . import eg3d, numpy_stand_ins, nvidia, tensorflow
from .budget import Budget
from .pickle_machine import Machine
from .stored import StoredTensor
from .torch_archive import LEGACY_START, TENSORS, ZIP_START, load_from_bytes, plain_dict, read_legacy, read_zip

MAX_BYTES = 4 * 2**30  # the largest published generators and trainers' files have a quarter of it


@dataclass(frozen=True)
class Foreign:
    """A generator out of a foreign file, not yet checked against its layout.

    tensors: float32, under the names of `layout.tensor_shapes`. kind: the format, in words. conv_clamp: see
    GeneratorConfig. eg3d: for an EG3D generator what its shapes do not tell, see `infer_eg3d`.
    """

    kind: str
    tensors: dict[str, Tensor]
    conv_clamp: float | None = None
    eg3d: dict[str, Any] | None = None


def read_foreign(path: Path) -> Foreign:
    """Reads a generator of NVIDIA's or rosinality's formats, on the CPU.

    Raises GeneratorFileError naming the reason.
    """
    if not path.is_file():
        raise GeneratorFileError(f"There is no generator file '{path.name}': check its name and folder.")
    with about(path.name):
        return _read(path, _bytes_of(path))


class Unread:
    """For what is in files and nothing reads: a trainer's options, sets of names."""

    def __init__(self, arguments: tuple):
        pass

    def build(self, state: Any) -> None:
        pass


ROSINALITY = {**TENSORS, "argparse.Namespace": Unread}
NVIDIA = {
    "torch_utils.persistence._reconstruct_persistent_obj": nvidia.reconstruct,
    "dnnlib.util.EasyDict": plain_dict,
    "collections.OrderedDict": plain_dict,
    "builtins.set": Unread,
    "dnnlib.tflib.network.Network": tensorflow.network,
    "torch._utils._rebuild_tensor_v2": TENSORS["torch._utils._rebuild_tensor_v2"],
    "torch._utils._rebuild_parameter": TENSORS["torch._utils._rebuild_parameter"],
    **numpy_stand_ins.TABLE,
    **eg3d.TABLE,
}
_KNOWN_OTHERS = {
    "training.triplane.": "it is an EG3D generator of another kind than the published ones",
    "training.volumetric_rendering.": "it is an EG3D generator that is rendered in another way than the published ones",
    "tfutil.": "it is a Progressive GAN's generator: give a StyleGAN2 generator",
}


def _forbidden(name: str) -> None:
    for start, reason in _KNOWN_OTHERS.items():
        if name.startswith(start):
            raise Refused(reason)


def _bytes_of(path: Path) -> memoryview:
    size = path.stat().st_size
    if not 64 <= size <= MAX_BYTES:
        raise Refused(f"it has {size:,} bytes, and a generator's file has at most {MAX_BYTES:,} and is not empty")
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _read(path: Path, data: memoryview) -> Foreign:
    budget = Budget()
    if data[:4] == ZIP_START:
        return _rosinality(read_zip(path, data, ROSINALITY, budget, _forbidden), len(data))
    if data[: len(LEGACY_START)] == LEGACY_START:
        return _rosinality(read_legacy(data, ROSINALITY, budget, _forbidden), len(data))
    if data[0] != 0x80:
        raise Refused(
            "it is neither a PyTorch file nor a pickle of protocol 2 to 5: give the .pkl or .pt that the training wrote"
        )
    table = {**NVIDIA, "torch.storage._load_from_bytes": partial(load_from_bytes, budget)}
    content = Machine(data, table, budget, forbidden=_forbidden).load()
    return _tensorflow(content, len(data)) if isinstance(content, tuple) else _nvidia(content, len(data))


def _nvidia(content: Any, limit: int) -> Foreign:
    generator = nvidia.averaged_generator(content)
    stored = generator.tensors()
    if eg3d.is_eg3d(generator):
        return Foreign("EG3D pickle", without_filters(_copied(stored, limit)), eg3d=eg3d.told(generator))
    check_architecture(stored)
    return Foreign("NVIDIA PyTorch pickle", without_filters(_copied(stored, limit)), generator.conv_clamp())


def _tensorflow(content: Any, limit: int) -> Foreign:
    generator = tensorflow.averaged_generator(content)
    stored = tensorflow.stored_tensors(generator)
    check_architecture(stored)
    return Foreign(
        "NVIDIA TensorFlow pickle", tensorflow.renamed(_copied(stored, limit)), tensorflow.conv_clamp(generator)
    )


def _rosinality(content: Any, limit: int) -> Foreign:
    state = content.get("g_ema") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        if isinstance(content, dict):
            check_architecture(content)
        raise Refused("it holds no averaged generator 'g_ema': give the checkpoint that the training wrote, whole")
    check_architecture(state)
    stored = dict(state)
    if content.get("latent_avg") is not None:
        stored["latent_avg"] = content["latent_avg"]
    return Foreign("rosinality checkpoint", from_rosinality(without_filters(_copied(stored, limit))))


def _copied(stored: Mapping[str, Any], limit: int) -> dict[str, Tensor]:
    for name, tensor in stored.items():
        if not isinstance(tensor, StoredTensor) or not tensor.storage.dtype.is_floating_point:
            raise Refused(f"its entry '{name}' is not a tensor of floating-point numbers")
    # What lies between a tensor's numbers is copied with them.
    if sum(max(tensor.nbytes, tensor.reach * tensor.storage.dtype.itemsize) for tensor in stored.values()) > limit:
        raise Refused("its tensors have more numbers than the file has room for")
    return {name: tensor.read().to(torch.float32) for name, tensor in stored.items()}
