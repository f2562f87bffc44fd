"""The emoji world's networks as MODELs and VAE."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.sd
import comfy.supported_models_base
import torch
from comfy.model_patcher import ModelPatcher

from ...domain_guidance.emoji_world.checkpoints import FOLDER, domain_file, load_code, read_base
from ...domain_guidance.emoji_world.model import CELL, CHANNELS, LATENT_SIZE, UNET_CONFIG
from ...domain_guidance.emoji_world.patch_code import COLOURS, PatchCode
from ...domain_guidance.emoji_world.prompts import PROMPT_WIDTH
from .domains.side_network import read_side_network
from .small_model import small_model

# The host's names for `emoji_world.model.UNET_CONFIG`.
UNET = {
    "image_size": LATENT_SIZE,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "model_channels": UNET_CONFIG["block_out_channels"][0],
    "channel_mult": [1, 1],
    "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": -2,
    "context_dim": PROMPT_WIDTH,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "legacy": False,
}


class EmojiLatent(comfy.latent_formats.LatentFormat):
    """Cells of 8x8 pixels, which have a mean square of 1 as they are."""

    latent_channels = CHANNELS
    scale_factor = 1.0

    def __init__(self, code: PatchCode):
        *self.latent_rgb_factors, self.latent_rgb_factors_bias = code.colours().tolist()


class CodeVAE(comfy.sd.VAE):
    """A linear code as the host's VAE, which knows none by its structure: its VAE of plain pixels, with another net."""

    def __init__(self, code: PatchCode):
        super().__init__(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
        self.first_stage_model = code.eval()
        self.latent_channels, self.downscale_ratio, self.upscale_ratio = CHANNELS, CELL, CELL
        self.memory_used_encode = lambda shape, dtype: 2 * shape[2] * shape[3] * COLOURS * dtype.itemsize
        self.memory_used_decode = lambda shape, dtype: 2 * shape[2] * shape[3] * CELL**2 * COLOURS * dtype.itemsize
        self.patcher = comfy.model_patcher.ModelPatcher(
            code, load_device=self.device, offload_device=self.patcher.offload_device
        )
        self.size = None


class EmojiConfig(comfy.supported_models_base.BASE):
    unet_extra_config = {"num_heads": 4, "num_head_channels": -1}
    supported_inference_dtypes = [torch.float32]

    def __init__(self, code: PatchCode):
        super().__init__(UNET)
        self.latent_format = EmojiLatent(code)

    def model_type(self, state_dict: dict, prefix: str = "") -> comfy.model_base.ModelType:
        return comfy.model_base.ModelType.V_PREDICTION

    def inpaint_model(self) -> bool:
        return False  # the host takes more than four channels for a mask and what lies under it


def load_base(folder: Path = FOLDER, disable_dynamic: bool = False) -> ModelPatcher:
    state, _ = read_base(folder)
    return small_model(EmojiConfig(load_code(folder)), state, partial(load_base, folder), disable_dynamic)


def load_domain(base: ModelPatcher, hand: str, folder: Path = FOLDER) -> ModelPatcher:
    """One hand's side network, as Load Side Network gives one beside `base`."""
    return read_side_network(base, folder / domain_file(hand), f"the emoji world's {hand}")


def load_vae(folder: Path = FOLDER) -> comfy.sd.VAE:
    return CodeVAE(load_code(folder))
