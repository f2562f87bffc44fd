"""The shape of the toy's UNet: 1.15 M parameters that both hosts can build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

IMAGE_SIZE = 16
CHANNELS = 3
PROMPT_WIDTH = 32

# Only what diffusers' UNet2DConditionModel and the host's UNetModel both offer. `attention_head_dim` is diffusers' old
# name for the number of heads: 4 heads of 16.
UNET_CONFIG = {
    "sample_size": IMAGE_SIZE,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "block_out_channels": (64, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "mid_block_type": None,
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": PROMPT_WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 32,
    "use_linear_projection": False,
}


def build_unet() -> UNet2DConditionModel:
    """A UNet2DConditionModel with fresh weights; call it with (x [B,3,16,16], timestep [B], prompt [B,4,32])."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(**UNET_CONFIG)


def predict(unet: torch.nn.Module, noisy: torch.Tensor, timestep: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
    """The UNet's raw output `[B,3,16,16]`."""
    return unet(noisy, timestep, encoder_hidden_states=prompt, return_dict=False)[0]
