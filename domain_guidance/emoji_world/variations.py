"""Drawings in looks that no word asks for: sketched, without colour, and in other colours.

A base that knows a thing in three colourings only takes its colours for a part of it, and its prompt then pulls every
picture back into them. Shown the same things in many looks, it leaves the look to the domain.

Drawings are [N, 4, 128, 128], premultiplied and in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BRIGHTNESS = (0.30, 0.59, 0.11)  # of red, green and blue (ITU-R BT.601)
PAPER = 0.97
FAINTEST, CONTRAST = 0.10, 10.0  # of an edge that becomes a line
DARKEST, DEPTH = 0.38, 8.0  # what is darker is filled


def variations(drawings: Tensor, generator: torch.Generator) -> list[Tensor]:
    """The drawings sketched in bold and in fine lines, without colour, and in other colours."""
    recoloured = drawings[:, [*torch.randperm(3, generator=generator).tolist(), 3]]
    return [sketched(drawings, bold=True), sketched(drawings, bold=False), greyed(drawings), recoloured]


def greyed(drawings: Tensor) -> Tensor:
    """The drawings without colour."""
    return torch.cat([_brightness(drawings).expand(-1, 3, -1, -1), drawings[:, 3:]], dim=1)


def sketched(drawings: Tensor, bold: bool) -> Tensor:
    """The drawings' edges as black lines, what is dark filled, and white paper within."""
    opacity = drawings[:, 3:]
    soft = F.avg_pool2d(F.pad(drawings[:, :3] + (1 - opacity), (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    across = F.pad(soft[..., 2:] - soft[..., :-2], (1, 1, 0, 0))
    down = F.pad(soft[..., 2:, :] - soft[..., :-2, :], (0, 0, 1, 1))
    steepness = (across.square() + down.square()).sum(1, keepdim=True).sqrt()
    lines = ((steepness - FAINTEST) * CONTRAST).clamp(0, 1)
    if bold:
        lines = F.max_pool2d(lines, 3, stride=1, padding=1)
    filled = ((DARKEST - _brightness(drawings) - (1 - opacity)) * DEPTH).clamp(0, 1)
    ink = torch.maximum(lines, filled)
    paper = PAPER * opacity * (1 - ink)
    return torch.cat([paper.expand(-1, 3, -1, -1), torch.maximum(ink, opacity)], dim=1)


def _brightness(drawings: Tensor) -> Tensor:
    return (drawings[:, :3] * torch.tensor(BRIGHTNESS).view(1, 3, 1, 1)).sum(1, keepdim=True)
