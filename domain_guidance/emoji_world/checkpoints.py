"""The files of the emoji world, read and written for either host.

What is stored in fp16 and comes with the pack lies in `weights`: `base.safetensors`, a plain checkpoint in ComfyUI's
layout with the prompt table and the latents' colours in it, `vae.safetensors`, and a side network for each domain.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file
from torch import Tensor, nn

from ..domains.card import HOST_PREFIX
from ..domains.unet_layouts import diffusers_to_host, host_to_diffusers
from ..files.atomic_file import save_tensors
from ..side_networks import SideFile, read_side_file
from .autoencoder import build_autoencoder
from .judge import Judge
from .model import PREDICTION, UNET_CONFIG, Base, build_unet

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

FOLDER = Path(__file__).parent / "weights"
DRAWINGS = "drawings.safetensors"  # made by `drawings`, and never part of the pack
AUTOENCODER = "autoencoder.safetensors"
BASE = "base.safetensors"
VAE = "vae.safetensors"
JUDGE = "judge.safetensors"
TOKENS = "emoji.tokens"
COLOURS = "emoji.colours"


def domain_file(hand: str) -> str:
    return f"{hand}.safetensors"


def write_autoencoder(autoencoder: nn.Module, folder: str | os.PathLike) -> None:
    save_tensors(Path(folder) / AUTOENCODER, _half(autoencoder), {})


def load_autoencoder(folder: str | os.PathLike) -> AutoencoderTiny:
    """The autoencoder in fp32, for evaluation."""
    autoencoder = build_autoencoder()
    autoencoder.load_state_dict(_single(Path(folder) / AUTOENCODER))
    return autoencoder.eval().requires_grad_(False)


def write_vae(autoencoder: nn.Module, folder: str | os.PathLike) -> None:
    """Write the autoencoder under ComfyUI's names, by which its loader of VAEs knows TAESD's shape."""
    save_tensors(Path(folder) / VAE, {host_name(name): half for name, half in _half(autoencoder).items()}, {})


def read_vae(folder: str | os.PathLike = FOLDER) -> dict[str, Tensor]:
    """The autoencoder under ComfyUI's names, in fp16."""
    return load_file(Path(folder) / VAE)


def load_vae(folder: str | os.PathLike = FOLDER) -> AutoencoderTiny:
    """The autoencoder that comes with the pack, in fp32, for evaluation."""
    stored = read_vae(folder)
    autoencoder = build_autoencoder()
    autoencoder.load_state_dict({name: stored[host_name(name)].float() for name in autoencoder.state_dict()})
    return autoencoder.eval().requires_grad_(False)


def host_name(name: str) -> str:
    """ComfyUI's name of an AutoencoderTiny's tensor; its decoder counts the clamp before the first layer as one."""
    part, _, number, rest = name.split(".", 3)
    return f"taesd_{part}.{int(number) + (part == 'decoder')}.{rest}"


@dataclass(frozen=True)
class BaseFile:
    """What `base.safetensors` holds.

    weights: in ComfyUI's layout without prefix. table: for `prompts.encode_prompt`. colours: [16 + 1, 3], the latents'
    channels as red, green and blue in [-1, 1], then what is added to them, for previews while a picture is drawn.
    """

    weights: dict[str, Tensor]
    table: Tensor
    colours: Tensor


def write_base(base: Base, colours: Tensor, folder: str | os.PathLike) -> None:
    """Write the UNet in ComfyUI's layout and fp16, with the prompt table and the latents' colours in it."""
    unet = diffusers_to_host(base.unet.state_dict(), UNET_CONFIG)
    tensors = {HOST_PREFIX + name: tensor.half() for name, tensor in unet.items()}
    beside = {TOKENS: base.table.detach(), COLOURS: colours.contiguous()}
    save_tensors(Path(folder) / BASE, {**tensors, **beside}, {"prediction": PREDICTION})


def read_base(folder: str | os.PathLike = FOLDER) -> BaseFile:
    tensors = load_file(Path(folder) / BASE)
    table, colours = tensors.pop(TOKENS), tensors.pop(COLOURS)
    return BaseFile({name.removeprefix(HOST_PREFIX): tensor for name, tensor in tensors.items()}, table, colours)


def load_base(folder: str | os.PathLike = FOLDER) -> tuple[UNet2DConditionModel, Tensor]:
    """The base as a diffusers UNet in fp32, and the prompt table."""
    file = read_base(folder)
    return unet_of(file.weights), file.table


def unet_of(host_state: Mapping[str, Tensor]) -> UNet2DConditionModel:
    """A diffusers UNet, in fp32 and for evaluation, with weights in ComfyUI's layout."""
    unet = build_unet()
    unet.load_state_dict(host_to_diffusers(host_state, UNET_CONFIG))
    return unet.float().eval().requires_grad_(False)


def load_domain(hand: str, folder: str | os.PathLike = FOLDER) -> SideFile:
    """A domain as a small correction of what the base answers."""
    return read_side_file(Path(folder) / domain_file(hand))


def write_judge(judge: Judge, folder: str | os.PathLike) -> None:
    save_tensors(Path(folder) / JUDGE, _half(judge), {})


def load_judge(folder: str | os.PathLike) -> Judge:
    """The judge in fp32, for evaluation."""
    judge = Judge()
    judge.load_state_dict(_single(Path(folder) / JUDGE))
    return judge.eval().requires_grad_(False)


def _half(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.half().contiguous() for name, tensor in module.state_dict().items()}


def _single(file: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in load_file(file).items()}
