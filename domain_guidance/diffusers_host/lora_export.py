"""An adapter as the LoRA that diffusers' `load_lora_weights` reads.

diffusers names UNet modules its own way, calls the matrices lora_A (down) and lora_B (up) as peft does, and takes alpha
to be the rank where a file does not say, so the adapter's scale is multiplied into lora_B.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from ..domains.adapter_file import PREFIX
from ..domains.unet_layouts import host_to_diffusers

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


def as_diffusers_lora(tensors: Mapping[str, Tensor], unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """The adapter's update under diffusers' names, `unet.<module>.lora_A.weight` and `.lora_B.weight`, in its own type.

    tensors: an adapter file's. unet: the base, which may be on the meta device. Raises ValueError for an adapter of
    another network.
    """
    modules = sorted({name.removesuffix(".alpha") for name in tensors if name.endswith(".alpha")})
    places = host_to_diffusers(
        {f"{module.removeprefix(PREFIX)}.weight": tensors[f"{module}.alpha"] for module in modules}, unet.config
    )
    shapes = {name: parameter.shape for name, parameter in unet.named_parameters()}
    lora = {}
    for module, place in zip(modules, places):
        up, down = tensors[f"{module}.lora_up.weight"], tensors[f"{module}.lora_down.weight"]
        expected = shapes.get(place)
        if expected is None or (len(up), *down.shape[1:]) != tuple(expected):
            raise ValueError(
                f"The adapter changes '{place}' of the shape {[len(up), *down.shape[1:]]}, but the base has "
                f"{'none' if expected is None else list(expected)}: give the base that the adapter was trained from."
            )
        scale = float(tensors[f"{module}.alpha"]) / len(down)
        name = place.removesuffix(".weight")
        lora[f"unet.{name}.lora_A.weight"] = down
        lora[f"unet.{name}.lora_B.weight"] = (up.float() * scale).to(up.dtype)
    return lora
