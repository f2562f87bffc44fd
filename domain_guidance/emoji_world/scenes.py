"""Laying a drawing on a ground: pictures `[N,3,64,64]` in [-1,1].

Every random choice comes from the generator that the caller hands in.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .model import IMAGE_SIZE
from .things import GROUNDS

SIZES = (0.86, 0.94)  # of the picture's side that a drawing takes
SHIFT = 1.5  # pixels off the centre, at most
JITTER = 0.015  # of a named ground's colour: two sheets of one paper are never quite alike


def lay(
    drawings: Tensor,
    grounds: Tensor,
    generator: torch.Generator,
    *,
    colours: Tensor | None = None,
    moved: bool = True,
) -> Tensor:
    """Lay drawings [N, 4, 128, 128], premultiplied and in [0, 1], on named grounds, given as indices [N].

    colours: [N, 3] in [0, 1], instead of the colours of the names. moved: to a size and a place by chance, instead of
    all in the middle and of one size.
    """
    placed = _placed(drawings, generator if moved else None)
    named = torch.tensor(list(GROUNDS.values()))[grounds] if colours is None else colours
    paper = (named + JITTER * (2 * torch.rand(named.shape, generator=generator) - 1)).clamp(0, 1)
    picture = placed[:, :3] + (1 - placed[:, 3:]) * paper[:, :, None, None]
    return picture.clamp(0, 1) * 2 - 1


def _placed(drawings: Tensor, generator: torch.Generator | None) -> Tensor:
    count, (low, high) = len(drawings), SIZES
    size, shift = torch.full((count,), (low + high) / 2), torch.zeros(count, 2)
    if generator is not None:
        size = low + (high - low) * torch.rand(count, generator=generator)
        shift = SHIFT * (2 * torch.rand(count, 2, generator=generator) - 1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / size
    theta[:, :, 2] = -shift * 2 / IMAGE_SIZE / size[:, None]
    # Twice too large, then averaged: a bilinear look-up alone would skip pixels of the drawing.
    grid = F.affine_grid(theta, [count, 4, 2 * IMAGE_SIZE, 2 * IMAGE_SIZE], align_corners=False)
    return F.avg_pool2d(F.grid_sample(drawings, grid, mode="bilinear", align_corners=False), 2)
