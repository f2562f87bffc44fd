"""Where a term acts: a MASK as the latent's own cells."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.utils
import torch
from comfy.latent_formats import LatentFormat
from comfy.sampler_helpers import prepare_mask
from torch import Tensor


def latent_mask(mask: Tensor, latent: Tensor, shapes: Sequence[Sequence[int]], latent_format: LatentFormat) -> Tensor:
    """The mask at the size, device and type of the latent, [B, C, ...], or [1, C, ...] where it is one for all images.

    One for all is not repeated, so that it fits any part of the batch, as a critic asks about. mask: [H, W] or
    [N, H, W], in pixels; N is the number of images, or of a video's frames. shapes: of each stream that is packed into
    the latent; a mask is one of images, and sound beside them is within it. Raises ValueError for a mask with another
    aspect ratio than the image's, or another number of masks than images, and for latents that are no pictures.
    """
    pictures, *others = shapes
    _check_pictures(pictures, latent_format)
    _check(mask, pictures, getattr(latent_format, "temporal_downscale_ratio", 1))
    count = 1 if _is_video(pictures) else masks_in(mask)
    parts = [prepare_mask(_placed(mask, pictures), (count, *pictures[1:]), latent.device)]
    if others:
        parts += [torch.ones((count, *shape[1:]), device=latent.device) for shape in others]
        parts = [comfy.utils.pack_latents(parts)[0]]
    return parts[0].to(latent.dtype)


def masks_in(mask: Tensor) -> int:
    return mask.shape[0] if mask.ndim > 2 else 1


def _is_video(shape: Sequence[int]) -> bool:
    return len(shape) == 5 and shape[2] > 1


def _check_pictures(shape: Sequence[int], latent_format: LatentFormat) -> None:
    """Sounds and shapes are rows of tokens or the cells of a cube: a mask's height and width are none of theirs."""
    dimensions = len(shape) - 2
    picture = dimensions == 2 and shape[-1] > 1
    film = dimensions == 3 and (latent_format.latent_dimensions == 3 or shape[2] == 1)
    if not picture and not film:
        raise ValueError(
            f"The domain guidance has a mask, but this model's latents, {list(shape)}, are not images, so a mask "
            "cannot apply: disconnect the mask."
        )


def _placed(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """The host takes several masks for a video's frames; for one frame they are those of the pictures."""
    return mask.reshape(-1, 1, 1, *mask.shape[-2:]) if len(shape) == 5 and shape[2] == 1 else mask


def _check(mask: Tensor, shape: Sequence[int], frames: int) -> None:
    """frames: of the video in one of its latent's."""
    (height, width), (rows, columns) = mask.shape[-2:], shape[-2:]
    # One latent cell of slack: pictures are cropped to whole cells.
    if abs(height * columns - width * rows) > max(height, width):
        raise ValueError(
            f"The mask of the domain guidance is {width}x{height}, but the image being sampled has {columns}x{rows} "
            "latent cells: use a mask with the image's aspect ratio."
        )
    count, video = masks_in(mask), _is_video(shape)
    if video and count not in (1, shape[2], (shape[2] - 1) * frames + 1):
        raise ValueError(
            f"The mask of the domain guidance contains {count} masks for a video of {(shape[2] - 1) * frames + 1} "
            "frames: use one for all of them, or one for each."
        )
    if not video and count not in (1, shape[0]):
        raise ValueError(
            f"The mask of the domain guidance contains {count} masks for {shape[0]} images: use one for all "
            "of them, or one for each."
        )
