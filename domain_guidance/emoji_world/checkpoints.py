"""The files of the emoji world, read and written for either host.

FOLDER is where they are to lie once they come with the pack: `base.safetensors`, a plain checkpoint in ComfyUI's
layout with the prompt table in it, `code.safetensors`, and a side network for each domain.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..domains.card import HOST_PREFIX
from ..domains.unet_layouts import diffusers_to_host, host_to_diffusers
from ..files.atomic_file import save_tensors
from ..side_networks import SideFile, read_side_file
from .judge import Judge
from .model import PREDICTION, UNET_CONFIG, Base, build_unet
from .patch_code import PatchCode

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

FOLDER = Path(__file__).parent / "weights"
DRAWINGS = "drawings.safetensors"  # made by `drawings`, and never part of the pack
BASE = "base.safetensors"
CODE = "code.safetensors"
JUDGE = "judge.safetensors"
TOKENS = "emoji.tokens"


def domain_file(hand: str) -> str:
    return f"{hand}.safetensors"


def write_code(code: PatchCode, folder: str | os.PathLike) -> None:
    save_tensors(Path(folder) / CODE, {name: tensor.contiguous() for name, tensor in code.state_dict().items()}, {})


def load_code(folder: str | os.PathLike = FOLDER) -> PatchCode:
    code = PatchCode()
    code.load_state_dict(load_file(Path(folder) / CODE))
    return code


def write_base(base: Base, folder: str | os.PathLike) -> None:
    """Write the UNet in ComfyUI's layout and fp16, with the prompt table in it."""
    unet = diffusers_to_host(base.unet.state_dict(), UNET_CONFIG)
    tensors = {HOST_PREFIX + name: tensor.half() for name, tensor in unet.items()}
    save_tensors(Path(folder) / BASE, {**tensors, TOKENS: base.table.detach()}, {"prediction": PREDICTION})


def read_base(folder: str | os.PathLike = FOLDER) -> tuple[dict[str, Tensor], Tensor]:
    """The base in ComfyUI's layout without prefix, and the prompt table for `prompts.encode_prompt`."""
    tensors = load_file(Path(folder) / BASE)
    table = tensors.pop(TOKENS)
    return {name.removeprefix(HOST_PREFIX): tensor for name, tensor in tensors.items()}, table


def read_table(folder: str | os.PathLike = FOLDER) -> Tensor:
    """The prompt table alone."""
    with safe_open(Path(folder) / BASE, "pt") as file:
        return file.get_tensor(TOKENS)


def load_base(folder: str | os.PathLike = FOLDER) -> tuple[UNet2DConditionModel, Tensor]:
    """The base as a diffusers UNet in fp32, and the prompt table."""
    state, table = read_base(folder)
    return unet_of(state), table


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
