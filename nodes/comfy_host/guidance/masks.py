"""Where a term acts: a MASK as the latent's own cells."""

from __future__ import annotations

from comfy.latent_formats import LatentFormat
from comfy.sampler_helpers import prepare_mask
from torch import Tensor


def latent_mask(mask: Tensor, latent: Tensor, latent_format: LatentFormat) -> Tensor:
    """The mask at the size, device and type of the latent, [B, C, ...].

    mask: [H, W] or [N, H, W], in pixels. Raises ValueError for a mask with another aspect ratio than the image's, or
    another number of masks than images, and for latents that are no pictures.
    """
    _check_pictures(latent, latent_format)
    _check(mask, latent)
    return prepare_mask(mask, latent.shape, latent.device).to(latent.dtype)


def _check_pictures(latent: Tensor, latent_format: LatentFormat) -> None:
    """Sounds and shapes are rows of tokens or the cells of a cube: a mask's height and width are none of theirs."""
    dimensions = latent.ndim - 2
    picture = dimensions == 2 and latent.shape[-1] > 1
    film = dimensions == 3 and (latent_format.latent_dimensions == 3 or latent.shape[2] == 1)
    if not picture and not film:
        raise ValueError(
            f"The domain guidance has a mask, but this model's latents, {list(latent.shape)}, are no pictures that a "
            "mask could divide: disconnect the mask."
        )


def _check(mask: Tensor, latent: Tensor) -> None:
    (height, width), (rows, columns) = mask.shape[-2:], latent.shape[-2:]
    # One latent cell of slack: pictures are cropped to whole cells.
    if abs(height * columns - width * rows) > max(height, width):
        raise ValueError(
            f"The mask of the domain guidance is {width}x{height}, but the image being sampled has {columns}x{rows} "
            "latent cells: use a mask with the image's aspect ratio."
        )
    count = mask.shape[0] if mask.ndim > 2 else 1
    if count not in (1, latent.shape[0]):
        raise ValueError(
            f"The mask of the domain guidance contains {count} masks for {latent.shape[0]} images: use one for all "
            "of them, or one for each."
        )
