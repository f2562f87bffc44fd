"""A LoRA on a base UNet, of whatever format diffusers reads."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from ..domains.adapter_file import merged, read_adapter_file
from ..domains.fingerprint import fingerprint
from ..domains.unet_layouts import diffusers_to_host, host_to_diffusers
from .fitting import check_lora

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

logger = logging.getLogger(__name__)


def add_lora(unet: UNet2DConditionModel, path: Path, strength: float = 1.0) -> str:
    """Add a LoRA's update to the UNet's weights, for good; its fingerprint.

    Raises ValueError for a file that changes nothing of it, or is for a network of another size.
    """
    tensors = _tensors(path)
    if any(name.startswith("diffusion_model.") for name in tensors):
        _add_adapter(unet, path, strength)
    else:
        _add_foreign(unet, path, strength)
    return fingerprint(tensors)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ValueError(f"There is no LoRA '{path}': check the name.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"'{path.name}' is not a complete safetensors file ({error}): download it again, or convert it to "
            "safetensors."
        ) from error


def _add_adapter(unet: UNet2DConditionModel, path: Path, strength: float) -> None:
    """An adapter of this library."""
    file = read_adapter_file(path)
    scaled = {name: tensor * strength if name.endswith(".alpha") else tensor for name, tensor in file.tensors.items()}
    unet.load_state_dict(
        host_to_diffusers(merged(diffusers_to_host(unet.state_dict(), unet.config), scaled), unet.config)
    )


def _add_foreign(unet: UNet2DConditionModel, path: Path, strength: float) -> None:
    from diffusers.loaders import StableDiffusionLoraLoaderMixin as Loader
    from diffusers.utils import convert_unet_state_dict_to_peft, is_peft_available

    if not is_peft_available():
        raise ValueError("A LoRA needs the package peft, which is not installed: install it, or leave --lora out.")
    # Newer releases hand the file's metadata on, which hold its scales.
    found, alphas, *metadata = Loader.lora_state_dict(
        str(path.parent),
        weight_name=path.name,
        unet_config=unet.config,
        local_files_only=True,
        return_lora_metadata=True,
    )
    if not any(name.startswith("unet.") for name in found):
        raise ValueError(
            f"'{path.name}' holds no LoRA for a UNet: give one that was trained for the Stable Diffusion family."
        )
    if any(name.startswith("text_encoder") for name in found):
        logger.warning("'%s' also changes the text encoder; only its part for the UNet is used.", path.name)
    own = {key.removeprefix("unet."): value for key, value in found.items() if key.startswith("unet.")}
    check_lora(convert_unet_state_dict_to_peft(own), unet, path.name)
    Loader.load_lora_into_unet(found, alphas, unet, **({"metadata": metadata[0]} if metadata else {}))
    unet.fuse_lora(lora_scale=strength)
    unet.unload_lora()
