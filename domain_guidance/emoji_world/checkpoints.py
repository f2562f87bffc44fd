"""The files of the emoji world, read and written for either host."""

from __future__ import annotations

import os
from collections.abc import Mapping
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

DRAWINGS = "drawings.safetensors"  # made by `drawings`, and never part of the pack
AUTOENCODER = "autoencoder.safetensors"
BASE = "base.safetensors"
VAE = "vae.safetensors"
JUDGE = "judge.safetensors"
TOKENS = "emoji.tokens"


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


def host_name(name: str) -> str:
    """ComfyUI's name of an AutoencoderTiny's tensor; its decoder counts the clamp before the first layer as one."""
    part, _, number, rest = name.split(".", 3)
    return f"taesd_{part}.{int(number) + (part == 'decoder')}.{rest}"


def write_base(base: Base, folder: str | os.PathLike) -> None:
    """Write the UNet in ComfyUI's layout and fp16, with the prompt table in it."""
    unet = diffusers_to_host(base.unet.state_dict(), UNET_CONFIG)
    tensors = {HOST_PREFIX + name: tensor.half() for name, tensor in unet.items()}
    save_tensors(Path(folder) / BASE, {**tensors, TOKENS: base.table.detach()}, {"prediction": PREDICTION})


def read_base(folder: str | os.PathLike) -> tuple[dict[str, Tensor], Tensor]:
    """The base in ComfyUI's layout without prefix, and the prompt table for `prompts.encode_prompt`."""
    tensors = load_file(Path(folder) / BASE)
    table = tensors.pop(TOKENS)
    return {name.removeprefix(HOST_PREFIX): tensor for name, tensor in tensors.items()}, table


def load_base(folder: str | os.PathLike) -> tuple[UNet2DConditionModel, Tensor]:
    """The base as a diffusers UNet in fp32, and the prompt table."""
    state, table = read_base(folder)
    return unet_of(state), table


def unet_of(host_state: Mapping[str, Tensor]) -> UNet2DConditionModel:
    """A diffusers UNet, in fp32 and for evaluation, with weights in ComfyUI's layout."""
    unet = build_unet()
    unet.load_state_dict(host_to_diffusers(host_state, UNET_CONFIG))
    return unet.float().eval().requires_grad_(False)


def load_domain(hand: str, folder: str | os.PathLike) -> SideFile:
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
