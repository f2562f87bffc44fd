"""The trained weights beside this file, read for either host.

All UNets are stored in fp16 and in ComfyUI's key layout. `base.safetensors` is a plain checkpoint with the prompt
table in it as `toy.tokens`, and so is `student.safetensors`, which draws in 8 steps at cfg 1; `domain.safetensors`
and `fine_tune.safetensors` are domain files; `features.safetensors` is the judge, `generator.safetensors` a generator
file, and `side_network.safetensors` a side network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..domains.domain_file import read_domain_file
from ..domains.unet_layouts import HOST_PREFIX, diffusers_to_host, host_to_diffusers
from ..files.atomic_file import save_tensors
from ..generators import Generator, GeneratorCard, GeneratorFile, read_generator_file, write_generator_file
from ..side_networks import SideFile, read_side_file
from .features import FeatureNet
from .model import UNET_CONFIG, build_unet

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

FOLDER = Path(__file__).parent / "weights"
BASE, DOMAIN, FINE_TUNE, FEATURES = (f"{name}.safetensors" for name in ("base", "domain", "fine_tune", "features"))
GENERATOR = "generator.safetensors"
SIDE_NETWORK = "side_network.safetensors"
STUDENT = "student.safetensors"
TOKENS = "toy.tokens"


def read_base(folder: str | os.PathLike = FOLDER, name: str = BASE) -> tuple[dict[str, Tensor], Tensor]:
    """The base in ComfyUI's layout without prefix, and the prompt table [26, 32] for `prompts.encode_prompt`."""
    tensors = load_file(Path(folder) / name)
    table = tensors.pop(TOKENS)
    return {name.removeprefix(HOST_PREFIX): tensor for name, tensor in tensors.items()}, table


def read_table(folder: str | os.PathLike = FOLDER) -> Tensor:
    """The prompt table alone."""
    with safe_open(Path(folder) / BASE, "pt") as file:
        return file.get_tensor(TOKENS)


def write_base(unet: nn.Module, table: Tensor, folder: str | os.PathLike, name: str = BASE) -> None:
    state = {HOST_PREFIX + name: tensor for name, tensor in stored_state(unet).items()}
    save_tensors(Path(folder) / name, {**state, TOKENS: table}, {"prediction": "epsilon"})


def stored_state(unet: nn.Module) -> dict[str, Tensor]:
    """A diffusers UNet as the files hold it: ComfyUI's names without prefix, fp16."""
    return {name: tensor.half() for name, tensor in diffusers_to_host(unet.state_dict(), UNET_CONFIG).items()}


def load_base(folder: str | os.PathLike = FOLDER, name: str = BASE) -> tuple[UNet2DConditionModel, Tensor]:
    """The base, or `student.safetensors`, as a diffusers UNet in fp32, and the prompt table."""
    state, table = read_base(folder, name)
    return unet_of(state), table


def load_domain(name: str = DOMAIN, folder: str | os.PathLike = FOLDER) -> UNet2DConditionModel:
    """`domain.safetensors` or `fine_tune.safetensors` as a diffusers UNet in fp32."""
    return unet_of(read_domain_file(Path(folder) / name).weights)


def unet_of(host_state: Mapping[str, Tensor]) -> UNet2DConditionModel:
    """A diffusers UNet, in fp32 and for evaluation, with weights in ComfyUI's layout."""
    unet = build_unet()
    unet.load_state_dict(host_to_diffusers(host_state, UNET_CONFIG))
    return unet.float().eval().requires_grad_(False)


def load_judge(folder: str | os.PathLike = FOLDER) -> FeatureNet:
    judge = FeatureNet()
    judge.load_state_dict({name: tensor.float() for name, tensor in load_file(Path(folder) / FEATURES).items()})
    return judge.eval().requires_grad_(False)


def write_judge(judge: FeatureNet, folder: str | os.PathLike) -> None:
    half = {name: tensor.half().contiguous() for name, tensor in judge.state_dict().items()}
    save_tensors(Path(folder) / FEATURES, half, {})


def load_side_network(folder: str | os.PathLike = FOLDER) -> SideFile:
    """The domain as a small correction of what the base answers."""
    return read_side_file(Path(folder) / SIDE_NETWORK)


def load_generator(folder: str | os.PathLike = FOLDER) -> GeneratorFile:
    """The StyleGAN2 of coloured digits, 16 px; `generators.build_generator` makes the network of it."""
    return read_generator_file(Path(folder) / GENERATOR)


def write_generator(generator: Generator, record: dict, folder: str | os.PathLike) -> None:
    half = {name: tensor.half() for name, tensor in generator.state_dict().items()}
    write_generator_file(Path(folder) / GENERATOR, half, GeneratorCard(generator.config, training=record))
