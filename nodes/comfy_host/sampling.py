"""KSampler's own sampling from inside a node, and looking on at its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.sd import VAE
from PIL import Image
from torch import Tensor

# The host's nodes.py; this pack's folder of that name, which a type checker finds, is only ever imported relatively.
from nodes import common_ksampler  # pyright: ignore[reportAttributeAccessIssue]

from .packed_latents import packed_shapes, pictures_of, unpacked_pictures

KEY = "domain_guidance.steps"

# step counted from 0, the pictures' denoised prediction [B, C, ...] in the model's scale, and how many steps there are.
OnStep = Callable[[int, Tensor, int], None]


@dataclass(frozen=True)
class Sampling:
    """KSampler's inputs beside model and cfg, under the names of the node."""

    seed: int
    steps: int
    sampler_name: str
    scheduler: str
    positive: list
    negative: list
    latent_image: dict
    denoise: float = 1.0

    def __call__(self, model: ModelPatcher, cfg: float) -> dict:
        """The LATENT that KSampler would give, with its progress bar, preview and Cancel."""
        (latent,) = common_ksampler(
            model,
            self.seed,
            self.steps,
            cfg,
            self.sampler_name,
            self.scheduler,
            self.positive,
            self.negative,
            self.latent_image,
            denoise=self.denoise,
        )
        return latent


def watched(model: ModelPatcher, on_step: OnStep, *, instead: bool = False) -> ModelPatcher:
    """A clone whose sampling calls `on_step` after the first evaluation of each step.

    instead: without the host's own callback, which is its progress bar and preview.
    """

    def sample(executor, guider, sigmas, extra_args, callback, noise, *rest, **settings):
        # The host unpacks what is packed only on the way into its own callback.
        shapes = packed_shapes(guider.inner_model, guider.conds)

        def heard(step: int, x0: Tensor, x: Tensor, total: int) -> None:
            on_step(step, unpacked_pictures(x0, shapes), total)
            if callback is not None and not instead:
                callback(step, x0, x, total)

        return executor(guider, sigmas, extra_args, heard, noise, *rest, **settings)

    clone = model.clone()
    clone.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, KEY)
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, sample)
    return clone


def decoded(vae: VAE, latent: dict) -> Tensor:
    """Pictures [N, H, W, 3] in 0..1; the frames of a video count as pictures, and sound is left out."""
    pictures = vae.decode(pictures_of(latent["samples"]))
    return pictures.reshape(-1, *pictures.shape[-3:])[..., :3]


def as_pictures(images: Tensor) -> list[Image.Image]:
    levels = (images.detach().cpu() * 255).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(picture.numpy()) for picture in levels]


def as_image(picture: Image.Image) -> Tensor:
    """IMAGE [1, H, W, 3] in 0..1."""
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.reshape(1, picture.height, picture.width, 3).float() / 255
