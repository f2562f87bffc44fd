"""The two key layouts of one UNet: diffusers' names and ComfyUI's (the original latent-diffusion names).

Both hold the same tensors, so a mapping of names is all there is to it. The names follow from the architecture alone:
which levels attend, how many blocks a level has, whether there is a middle block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from .card import HOST_PREFIX

_STEM = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def diffusers_to_host(state: Mapping[str, Tensor], unet_config: Mapping[str, Any]) -> dict[str, Tensor]:
    """A diffusers UNet's state dict under ComfyUI's names, without prefix.

    unet_config: the UNet's diffusers configuration. Raises ValueError for a tensor that the layout has no name for.
    """
    return _renamed(state, dict(module_names(unet_config)), "diffusers")


def host_to_diffusers(state: Mapping[str, Tensor], unet_config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The inverse of `diffusers_to_host`; a leading `model.diffusion_model.` is dropped."""
    bare = {name.removeprefix(HOST_PREFIX): tensor for name, tensor in state.items()}
    return _renamed(bare, {host: name for name, host in module_names(unet_config)}, "host")


def module_names(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs (diffusers module, host module) of a UNet with this diffusers configuration."""
    yield from _STEM.items()
    yield from _input_blocks(config)
    if config.get("mid_block_type", "UNetMidBlock2DCrossAttn"):
        yield from _resnet("mid_block.resnets.0", "middle_block.0")
        yield "mid_block.attentions.0", "middle_block.1"
        yield from _resnet("mid_block.resnets.1", "middle_block.2")
    yield from _output_blocks(config)


def _input_blocks(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    index, kinds = 1, config["down_block_types"]
    for level, kind in enumerate(kinds):
        here = f"down_blocks.{level}"
        for layer in range(_layers(config, level)):
            yield from _resnet(f"{here}.resnets.{layer}", f"input_blocks.{index}.0")
            if "CrossAttn" in kind:
                yield f"{here}.attentions.{layer}", f"input_blocks.{index}.1"
            index += 1
        if level < len(kinds) - 1:
            yield f"{here}.downsamplers.0.conv", f"input_blocks.{index}.0.op"
            index += 1


def _output_blocks(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    index, kinds = 0, config["up_block_types"]
    for level, kind in enumerate(kinds):
        here, attends = f"up_blocks.{level}", "CrossAttn" in kind
        # One block more than on the way down: it takes the skip of the downsampler.
        blocks = _layers(config, len(kinds) - 1 - level) + 1
        for layer in range(blocks):
            yield from _resnet(f"{here}.resnets.{layer}", f"output_blocks.{index}.0")
            if attends:
                yield f"{here}.attentions.{layer}", f"output_blocks.{index}.1"
            if layer == blocks - 1 and level < len(kinds) - 1:
                yield f"{here}.upsamplers.0.conv", f"output_blocks.{index}.{2 if attends else 1}.conv"
            index += 1


def _layers(config: Mapping[str, Any], level: int) -> int:
    layers = config["layers_per_block"]
    return layers if isinstance(layers, int) else layers[level]


def _resnet(name: str, host: str) -> Iterator[tuple[str, str]]:
    for part, host_part in _RESNET.items():
        yield f"{name}.{part}", f"{host}.{host_part}"


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str], layout: str) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in state.items():
        module = next((m for m in _parents(key) if m in names), None)
        if module is None:
            raise ValueError(
                f"The tensor '{key}' has no place in the {layout} layout of this UNet: "
                "give the configuration that belongs to these weights."
            )
        renamed[names[module] + key[len(module) :]] = tensor
    return renamed


def _parents(key: str) -> Iterator[str]:
    while "." in key:
        key = key.rpartition(".")[0]
        yield key
