"""The shape of the emoji world's UNet, which both hosts can build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..diffusion.parameterization import Prediction
from .prompts import PROMPT_WIDTH, Prompts, encode, make_table

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

IMAGE_SIZE = 64
CELL = 8  # pixels along the side of one cell of the latent
LATENT_SIZE = IMAGE_SIZE // CELL
CHANNELS = 32
PREDICTION: Prediction = "v_prediction"

# Only what diffusers' UNet2DConditionModel and the host's UNetModel both offer. `attention_head_dim` is diffusers' old
# name for the number of heads.
UNET_CONFIG = {
    "sample_size": LATENT_SIZE,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "block_out_channels": (96, 96),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "mid_block_type": None,
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": PROMPT_WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 32,
    "use_linear_projection": False,
}


def build_unet() -> UNet2DConditionModel:
    """A UNet2DConditionModel with fresh weights; call it with (x [B,32,8,8], timestep [B], prompt [B,4,64])."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(**UNET_CONFIG)


class Base(nn.Module):
    """The UNet and the prompt table, which learn together."""

    def __init__(self):
        super().__init__()
        self.unet = build_unet()
        self.table = make_table()

    def predict(self, noisy: Tensor, timestep: Tensor, asked: Prompts) -> Tensor:
        with half_precision():
            return predict(self.unet, noisy, timestep, encode(asked, self.table)).float()


def half_precision() -> torch.autocast:
    """What networks are trained in: convolutions and products in bf16, which newer CPUs do twice as fast."""
    return torch.autocast("cpu", torch.bfloat16)


def predict(unet: nn.Module, noisy: Tensor, timestep: Tensor, prompt: Tensor) -> Tensor:
    """The UNet's raw output `[B,32,8,8]`, a velocity."""
    return unet(noisy, timestep, encoder_hidden_states=prompt, return_dict=False)[0]
