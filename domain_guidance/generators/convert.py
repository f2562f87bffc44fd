"""From a generator's file of any format to our one, and to the network."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor

from .eg3d.generator import Eg3dGenerator
from .eg3d.layout import Eg3dConfig, infer_eg3d
from .errors import GeneratorFileError, about
from .generator_file import (
    GeneratorCard,
    GeneratorFile,
    Origin,
    check_weights,
    is_generator_file,
    read_generator_file,
    write_generator_file,
)
from .layout import MEAN_STYLE, GeneratorConfig, infer_config, noise_names
from .readers import Foreign, read_foreign
from .stylegan2 import Generator

MEAN_OF = 8192  # latents for a mean style that a file does not hold
NETWORKS = {"stylegan2": Generator, "eg3d": Eg3dGenerator}


def open_generator_file(path: str | os.PathLike) -> GeneratorFile:
    """Reads a generator of any format, ours or a foreign one. Raises GeneratorFileError naming the reason."""
    path = Path(path)
    if path.is_file() and is_generator_file(path):
        return read_generator_file(path)
    return open_foreign_file(path)


def open_foreign_file(path: Path, sha256: str | None = None) -> GeneratorFile:
    """Reads and checks a generator of a foreign format, as a generator file would hold it.

    sha256: of its bytes, where it is known already. Raises GeneratorFileError naming the reason.
    """
    foreign = read_foreign(path)
    with about(path.name):
        weights, config, estimated = _completed(foreign)
        check_weights(weights, config)
    origin = Origin(path.name, sha256 or sha256_of(path), foreign.kind, estimated)
    return GeneratorFile(GeneratorCard(config, origin), weights)


def convert(source: str | os.PathLike, target: str | os.PathLike) -> GeneratorCard:
    """Reads a generator of any format and writes a generator file, atomically, once the whole of it has been checked.

    Raises GeneratorFileError, before anything is written, for a source that cannot be used or a target that exists.
    """
    _check_free(target)
    file = open_generator_file(source)
    try:
        write_generator_file(target, file.weights, file.card, free=True)
    except FileExistsError:
        _check_free(target)
        raise  # what is in the way is its folder's name
    return file.card


def _check_free(target: str | os.PathLike) -> None:
    if os.path.lexists(target):
        raise GeneratorFileError(f"'{Path(target).name}' exists already, and is kept: name another file to write.")


def build_generator(file: GeneratorFile) -> Generator | Eg3dGenerator:
    """The network with a file's weights, in float32, in evaluation mode, nothing of it yet requiring a gradient."""
    generator = empty_generator(file.card.config)
    generator.load_state_dict({name: tensor.float() for name, tensor in file.weights.items()}, assign=True)
    return generator.requires_grad_(False).eval()


def empty_generator(config: GeneratorConfig | Eg3dConfig) -> Generator | Eg3dGenerator:
    """The network without memory, on the device 'meta'."""
    with torch.device("meta"):
        return NETWORKS[config.architecture](config)


def _completed(foreign: Foreign) -> tuple[dict[str, Tensor], GeneratorConfig | Eg3dConfig, tuple[str, ...]]:
    """The weights with what old files of a StyleGAN2 leave out: noise maps, drawn from a fixed seed, and the mean
    style, estimated.
    """
    weights = foreign.tensors
    if foreign.eg3d is not None:
        return weights, infer_eg3d({name: tuple(tensor.shape) for name, tensor in weights.items()}, **foreign.eg3d), ()
    optional = {
        MEAN_STYLE,
        *(name.replace("noise_strength", "noise_const") for name in weights if name.endswith("noise_strength")),
    }
    config = infer_config(
        {name: tuple(tensor.shape) for name, tensor in weights.items()},
        optional=optional,
        conv_clamp=foreign.conv_clamp,
    )
    random = torch.Generator().manual_seed(0)
    made = {name: torch.randn(pixels, pixels, generator=random) for name, pixels in noise_names(config)}
    if MEAN_STYLE not in weights:
        made[MEAN_STYLE] = _mean_style(weights, config)
    return {**made, **weights}, config, tuple(sorted(made.keys() - weights.keys()))


@torch.no_grad()
def _mean_style(weights: dict[str, Tensor], config: GeneratorConfig) -> Tensor:
    mapping = empty_generator(config).mapping
    own = {name.removeprefix("mapping."): tensor for name, tensor in weights.items() if name.startswith("mapping.")}
    mapping.load_state_dict(own, strict=False, assign=True)  # all but the mean itself
    z = torch.randn(MEAN_OF, config.z_dim, generator=torch.Generator().manual_seed(0))
    return mapping(z).mean(0)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal, as `Origin` has it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
