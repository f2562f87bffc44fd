"""The autoencoder: pictures of 64 pixels as 8x8 cells of 16 channels and back, 2.46 M parameters.

Its shape is that of TAESD (Bollin Boer Bohan, MIT), with fresh weights: the host knows it by its structure, diffusers
by its name, and without any normalisation it is quick on a CPU and keeps a picture's flat colours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runs import Objective
from .model import CELL, CHANNELS, half_precision

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

GRAIN = 0.1  # noise that the decoder learns to read through, where latents have a variance of 1
SPREAD = 0.01  # weight of the penalty for channels whose mean is not 0 or whose spread is not 1
EDGES = 1.0  # weight of the error of neighbouring pixels' differences, which is where a blur shows
TONES = 1.0  # weight of the error of whole cells' mean colours, which are learned late where shapes use up the latent


def build_autoencoder() -> AutoencoderTiny:
    """An AutoencoderTiny with fresh weights, laid out in memory as a CPU's convolutions like it."""
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    autoencoder = AutoencoderTiny(latent_channels=CHANNELS)
    for weight in autoencoder.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return autoencoder


def encode(autoencoder: AutoencoderTiny, images: Tensor) -> Tensor:
    """Pictures [N, 3, 64, 64] in [-1, 1] as latents [N, 16, 8, 8]."""
    return autoencoder.encode(images.contiguous(memory_format=torch.channels_last), return_dict=False)[0]


def decode(autoencoder: AutoencoderTiny, latents: Tensor) -> Tensor:
    """Latents [N, 16, 8, 8] as pictures [N, 3, 64, 64], which may leave [-1, 1] a little."""
    return autoencoder.decode(latents.contiguous(memory_format=torch.channels_last), return_dict=False)[0]


def objective(autoencoder: AutoencoderTiny, paint: Callable[[torch.Generator], Tensor]) -> Objective:
    """The objective for the training loop: pixels and edges come back as they were, also through a little noise.

    paint: a batch of pictures [N, 3, 64, 64] from a generator.
    """

    def loss(generator: torch.Generator) -> Tensor:
        images = paint(generator)
        with half_precision():
            latents = encode(autoencoder, images)
            noise = torch.randn(latents.shape, generator=generator)
            drawn = decode(autoencoder, latents + GRAIN * noise)
        return error(drawn.float(), images) + SPREAD * off_unit(latents.float())

    return loss


def error(drawn: Tensor, images: Tensor) -> Tensor:
    """Mean absolute error of pixels, of the differences between neighbours, and of the mean colours of cells."""
    across, down = (F.l1_loss(drawn.diff(dim=dim), images.diff(dim=dim)) for dim in (3, 2))
    tones = F.l1_loss(F.avg_pool2d(drawn, CELL), F.avg_pool2d(images, CELL))
    return F.l1_loss(drawn, images) + EDGES * (across + down) + TONES * tones


def off_unit(latents: Tensor) -> Tensor:
    """How far the channels of latents [N, C, H, W] are from mean 0 and standard deviation 1, squared."""
    return (latents.mean((0, 2, 3)).square() + (latents.std((0, 2, 3)) - 1).square()).mean()


def colours_of(latents: Tensor, images: Tensor) -> Tensor:
    """The latents' channels as colours [16 + 1, 3]: the least squares from latents [N, 16, 8, 8] to their cells' means.

    images: [N, 3, 64, 64] in [-1, 1], the pictures of those latents. The last row is what is added.
    """
    channels = latents.movedim(1, -1).flatten(0, 2)
    means = F.avg_pool2d(images, CELL).movedim(1, -1).flatten(0, 2)
    return torch.linalg.lstsq(torch.cat([channels, torch.ones(len(channels), 1)], dim=1), means).solution
