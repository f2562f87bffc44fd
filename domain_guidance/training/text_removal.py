"""Taking the text out of a trainable's UNet, by constants that are measured on the domain's latents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor

from ..data import CachedLatents, Size, held_out_batches, split
from ..diffusion.parameterization import add_noise, network_input
from ..domains.text_free import (
    cross_attention_skipped,
    cross_attentions,
    freeze_text_path,
    make_text_free,
    measure_constants,
)
from .trainable import Trainable

CONSTANT_LEVELS = 10


class NotedTrainable(Trainable, Protocol):
    """A `Trainable` whose module is the UNet. notes: what the card says of the making, beside the run's own record."""

    @property
    def notes(self) -> dict[str, Any]: ...


def domain_latents(
    trainable: Trainable, latents: CachedLatents, *, images: int, at_once: int
) -> Iterator[tuple[Tensor, Size]]:
    """The latents of the first `images` training images, with their size in pixels.

    Batches of `at_once`, [B, C, h, w] in the model's scale.
    """
    device = next(trainable.module.parameters()).device
    chosen = split([image.key for image in latents.images]).train[:images]
    for batch in held_out_batches(latents, chosen, batch_size=at_once):
        yield trainable.latent_scale(batch.latents.to(device)), batch.bucket


def take_text_out(trainable: NotedTrainable, latents: Iterable[tuple[Tensor, Size]]) -> ExitStack:
    """Make the trainable's UNet text-free and ready to be trained; its card gets the residual of every layer.

    latents: clean ones, as `domain_latents` gives them; each is seen at ten noise levels. Returns what ends the
    skipping of cross-attention, which only training needs.
    """
    unet = trainable.module
    estimates = measure_constants(trainable.predict, cross_attentions(unet), _constant_batches(trainable, latents))
    unet.load_state_dict(make_text_free(unet.state_dict(), {name: found.constant for name, found in estimates.items()}))
    trainable.notes["residuals"] = {name: round(found.residual, 4) for name, found in estimates.items()}
    unet.requires_grad_(True)
    freeze_text_path(unet)
    skipping = ExitStack()
    skipping.enter_context(cross_attention_skipped(unet))
    return skipping


def _constant_batches(
    trainable: NotedTrainable, latents: Iterable[tuple[Tensor, Size]]
) -> Iterator[tuple[Tensor, Tensor, Any]]:
    """Domain latents at ten evenly spaced noise levels with the empty prompt, as arguments of `predict`."""
    steps = len(trainable.schedule.sigmas)
    generator = torch.Generator().manual_seed(0)
    for clean, bucket in latents:
        for level in range(CONSTANT_LEVELS):
            timestep = torch.full((len(clean),), (2 * level + 1) * steps // (2 * CONSTANT_LEVELS), device=clean.device)
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            sigma = trainable.schedule.sigma(timestep)
            noisy = network_input(add_noise(clean, noise, sigma, trainable.prediction), sigma, trainable.prediction)
            yield noisy, timestep, trainable.conditioning(len(clean), bucket)
