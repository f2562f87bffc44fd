"""What a model in training draws by itself, without guidance."""

from __future__ import annotations

import io

import comfy.latent_formats
import comfy.model_management
import torch
from PIL import Image
from torch import Tensor

from ....domain_guidance.data import Size
from ....domain_guidance.diffusion.parameterization import denoised, network_input
from ....domain_guidance.diffusion.sampling import sample_euler
from .frames import as_network_sees, as_pictures
from .trainable import HostTrainable
from .vae_posterior import Posteriors

STEPS, COUNT = 12, 2
COVER_SIDE = 256


@torch.no_grad()
def draw(trainable: HostTrainable, bucket: Size) -> Tensor:
    """Latents [2, C, h, w] in the model's scale, always from the same noise (our choice: Euler, 12 steps)."""
    table = trainable.schedule.sigmas
    sigmas = torch.cat([table[torch.linspace(len(table) - 1, 0, STEPS).round().long()], torch.zeros(1)]).to(
        trainable.device
    )
    conditioning = trainable.conditioning(COUNT, bucket)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        scaled = network_input(x, sigma, trainable.prediction)
        output = trainable.predict(scaled, trainable.schedule.timestep(sigma), conditioning)
        return denoised(output.float(), x, sigma, trainable.prediction)

    noise = torch.randn(COUNT, *trainable.latent_shape(bucket), generator=torch.Generator().manual_seed(0)).to(
        trainable.device
    )
    return sample_euler(denoise, noise * sigmas[0], sigmas)


def picture_of(latent: Tensor, latent_format: comfy.latent_formats.LatentFormat, vae: Posteriors) -> Image.Image:
    """A row of pictures from latents in the model's scale.

    In rough colours where the decoder does not fit beside the model.
    """
    try:
        # One at a time: beside a model in training there is seldom room for two.
        latents = as_pictures(latent_format.process_out(as_network_sees(latent.float(), latent_format)))
        pictures = torch.cat([vae.decode(one) for one in latents.split(1)])
    except RuntimeError as error:
        comfy.model_management.raise_non_oom(error)
        pictures = _rough(latent.float().cpu(), latent_format.latent_rgb_factors)
    row = torch.cat(list(pictures[..., :3]), dim=1)
    return Image.fromarray((row * 255).round().to(torch.uint8).numpy())


def as_cover(picture: Image.Image) -> bytes:
    """The picture as a small JPEG file."""
    small, file = picture.copy(), io.BytesIO()
    small.thumbnail((COUNT * COVER_SIDE, COVER_SIDE))
    small.save(file, "JPEG", quality=85)
    return file.getvalue()


def _rough(latent: Tensor, factors: list | None) -> Tensor:
    """factors: the host's colour [r, g, b] of each channel; without them, or with those of another shape, grey."""
    weights = torch.tensor(factors or [[1.0, 1.0, 1.0]] * latent.shape[1])
    if len(weights) != latent.shape[1]:
        weights = torch.ones(latent.shape[1], 3)
    return ((latent.movedim(1, -1) @ weights + 1) / 2).clamp(0, 1)
