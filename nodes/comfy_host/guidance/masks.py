"""Where a term acts: a MASK as the latent's own cells."""

from __future__ import annotations

from comfy.sampler_helpers import prepare_mask
from torch import Tensor


def latent_mask(mask: Tensor, latent: Tensor) -> Tensor:
    """The mask at the size, device and type of the latent, [B, C, ...].

    mask: [H, W] or [N, H, W], in pixels. Raises ValueError for a mask with another aspect ratio than the image's, or
    another number of masks than images.
    """
    _check(mask, latent)
    return prepare_mask(mask, latent.shape, latent.device).to(latent.dtype)


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
