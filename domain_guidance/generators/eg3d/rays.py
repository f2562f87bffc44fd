"""Rays: where each pixel of a camera looks from and to."""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import split


def rays(cameras: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Origins and unit directions, both [N, resolution^2, 3], of the rays through the pixels' centres.

    They come row by row. cameras: [N, 25].
    """
    matrices, intrinsics = split(cameras)
    place = (torch.arange(resolution, device=cameras.device, dtype=cameras.dtype) + 0.5) / resolution
    v, u = torch.meshgrid(place, place, indexing="ij")
    pixels = torch.stack((u, v, torch.ones_like(u)), dim=-1).flatten(0, 1)
    seen = torch.linalg.solve(intrinsics, pixels.T[None]).transpose(1, 2)
    directions = torch.nn.functional.normalize(seen @ matrices[:, :3, :3].transpose(1, 2), dim=-1)
    return matrices[:, None, :3, 3].expand_as(directions), directions
