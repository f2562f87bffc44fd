"""Whether what a file holds belongs to a UNet, before any of it is put in: names, shapes and what its prompt feeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from ..domains.card import HOST_PREFIX, DomainFileError
from ..domains.prompt import Prompt
from ..domains.unet_layouts import diffusers_to_host

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

SIZES = 6  # numbers that SDXL reads beside the pooled vector
LORA_DOWN, LORA_UP = ".lora_A.weight", ".lora_B.weight"
RIGHT_BASE = "give the base that it was trained from"


def check_network(weights: Mapping[str, Tensor], unet: UNet2DConditionModel, name: str) -> None:
    """Raises DomainFileError unless the weights, under the host's names, are of a network like this one.

    name: the file's.
    """
    wanted = {key: list(value.shape) for key, value in diffusers_to_host(unet.state_dict(), unet.config).items()}
    found = {key.removeprefix(HOST_PREFIX): list(value.shape) for key, value in weights.items()}
    different = [key for key in sorted({*wanted, *found}) if wanted.get(key) != found.get(key)]
    if different:
        first = different[0]
        ours, theirs = (shapes.get(first, "missing") for shapes in (found, wanted))
        raise DomainFileError(
            f"'{name}' was trained on another kind of network than this base ({len(different)} of {len(wanted)} "
            f"tensors differ, and '{first}' is {ours} in the file and {theirs} in the base): {RIGHT_BASE}."
        )


def check_prompt(prompt: Prompt, unet: UNet2DConditionModel, name: str) -> None:
    """Raises DomainFileError where the UNet cannot read the empty prompt of a file. name: the file's."""
    width, wanted = prompt.cross_attn.shape[-1], _text_width(unet)
    if wanted is not None and width != wanted:
        raise DomainFileError(
            f"The empty prompt of '{name}' is {width} numbers wide and the base reads {wanted}: {RIGHT_BASE}."
        )
    pooled, expected = prompt.pooled_output, _pooled_width(unet)
    found = None if pooled is None else pooled.shape[-1]
    if found != expected:
        raise DomainFileError(
            f"The empty prompt of '{name}' has {_vector(found)} and the base reads {_vector(expected)}: {RIGHT_BASE}."
        )


def check_lora(layers: Mapping[str, Tensor], unet: UNet2DConditionModel, name: str) -> None:
    """Raises DomainFileError for a LoRA under peft's names that has layers of other sizes, or none of the UNet's.

    name: the file's.
    """
    shapes = {key.removesuffix(".weight"): value.shape for key, value in unet.named_parameters()}
    known = [key for key in layers if key.endswith((LORA_DOWN, LORA_UP)) and _layer(key) in shapes]
    if not known and any(key.endswith(LORA_DOWN) for key in layers):
        raise DomainFileError(f"'{name}' changes no layer that this base has: give a LoRA of the base's family.")
    for key in known:
        side = 1 if key.endswith(LORA_DOWN) else 0
        size, wanted = layers[key].shape[side], shapes[_layer(key)][side]
        if size != wanted:
            raise DomainFileError(
                f"'{name}' is a LoRA for a network of another size: its '{key}' is for {size} channels and the base "
                f"has {wanted}, so give a LoRA of the base's family."
            )


def _layer(key: str) -> str:
    return key.removesuffix(LORA_DOWN).removesuffix(LORA_UP)


def _text_width(unet: UNet2DConditionModel) -> int | None:
    """How wide the text is that its cross-attention reads; None for a UNet without any."""
    keys = (value for key, value in unet.named_parameters() if key.endswith("attn2.to_k.weight"))
    return next((key.shape[1] for key in keys), None)


def _pooled_width(unet: UNet2DConditionModel) -> int | None:
    if unet.config.get("addition_embed_type") != "text_time":
        return None
    return unet.config["projection_class_embeddings_input_dim"] - SIZES * unet.config["addition_time_embed_dim"]


def _vector(width: int | None) -> str:
    return "no pooled vector" if width is None else f"a pooled vector of {width} numbers"
