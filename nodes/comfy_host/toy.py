"""The toy world's networks as MODELs."""

from __future__ import annotations

import comfy.latent_formats
import comfy.sd
import comfy.supported_models_base
import torch
from comfy.model_patcher import ModelPatcher

from ...domain_guidance.domains.domain_file import read_domain_file
from ...domain_guidance.domains.prompt import Prompt
from ...domain_guidance.generators import GeneratorFile
from ...domain_guidance.toy_world.checkpoints import DOMAIN, FOLDER, SIDE_NETWORK, read_base
from ...domain_guidance.toy_world.checkpoints import load_generator as read_generator
from ...domain_guidance.toy_world.model import CHANNELS, IMAGE_SIZE, PROMPT_WIDTH
from .domains.origin import ATTACHMENT, DomainOrigin, conditioning_of
from .domains.side_network import read_side_network
from .small_model import small_model

# The host's names for `toy_world.model.UNET_CONFIG`.
UNET = {
    "image_size": IMAGE_SIZE,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "model_channels": 64,
    "channel_mult": [1, 1],
    "num_res_blocks": [1, 1],
    "transformer_depth": [0, 1],
    "transformer_depth_output": [0, 0, 1, 1],
    "transformer_depth_middle": -2,
    "context_dim": PROMPT_WIDTH,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "legacy": False,
}


class PixelLatent(comfy.latent_formats.LatentFormat):
    """Pictures in [-1, 1] are their own latents."""

    latent_channels = CHANNELS
    spacial_downscale_ratio = 1
    latent_rgb_factors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


class ToyConfig(comfy.supported_models_base.BASE):
    unet_extra_config = {"num_heads": 4, "num_head_channels": -1}
    latent_format = PixelLatent
    supported_inference_dtypes = [torch.float32]


def load_base(disable_dynamic: bool = False) -> ModelPatcher:
    state, _ = read_base()
    return small_model(ToyConfig(UNET), state, load_base, disable_dynamic)


def load_domain(disable_dynamic: bool = False) -> ModelPatcher:
    """The domain's MODEL brings its empty prompt, as one from Load Domain UNet does."""
    file = read_domain_file(FOLDER / DOMAIN)
    patcher = small_model(ToyConfig(UNET), file.weights, load_domain, disable_dynamic)
    empty = conditioning_of(file.card, Prompt(file.cross_attn, file.pooled_output, file.beside))
    patcher.set_attachments(ATTACHMENT, DomainOrigin("the toy world's domain", file.card, empty))
    return patcher


def load_side_network(base: ModelPatcher) -> ModelPatcher:
    """The domain once more, as Load Side Network gives one beside `base`."""
    return read_side_network(base, FOLDER / SIDE_NETWORK, "the toy world's side network")


def pixel_vae() -> comfy.sd.VAE:
    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})


def load_generator() -> GeneratorFile:
    """The toy world's GAN, with weights that can be trained."""
    with torch.inference_mode(False):
        return read_generator()
