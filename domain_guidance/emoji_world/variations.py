"""Drawings in other looks: sketched, in soft light, without colour, and in other colours.

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
# Of soft light: its warm white, the colours that shadows may take, how far light and shadow go, and how far aside the
# light may stand, in radians.
LIGHT = (1.0, 0.97, 0.9)
SHADOWS = ((0.85, 0.20, 0.55), (0.55, 0.25, 0.80), (0.30, 0.30, 0.85), (0.90, 0.35, 0.20))
STRENGTH, ASIDE = (0.25, 0.50), 0.6
DEEPER = 1.4  # how much further shadows go than light
HAZE, HAZE_GREY = 0.15, 0.6
ROUNDNESS, SLOPE = 18.0, 0.7  # of the outline's swelling, and of the light over the whole drawing


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
    across, down = _slopes(soft)
    steepness = (across.square() + down.square()).sum(1, keepdim=True).sqrt()
    lines = ((steepness - FAINTEST) * CONTRAST).clamp(0, 1)
    if bold:
        lines = F.max_pool2d(lines, 3, stride=1, padding=1)
    filled = ((DARKEST - _brightness(drawings) - (1 - opacity)) * DEPTH).clamp(0, 1)
    ink = torch.maximum(lines, filled)
    paper = PAPER * opacity * (1 - ink)
    return torch.cat([paper.expand(-1, 3, -1, -1), torch.maximum(ink, opacity)], dim=1)


def softly_lit(drawings: Tensor, generator: torch.Generator) -> Tensor:
    """The drawings as round things in soft light from above, a little hazy, with coloured shadows."""
    count, opacity = len(drawings), drawings[:, 3:]
    shadow = torch.tensor(SHADOWS)[torch.randint(len(SHADOWS), (count,), generator=generator)].view(-1, 3, 1, 1)
    strength = STRENGTH[0] + (STRENGTH[1] - STRENGTH[0]) * torch.rand(count, 1, 1, 1, generator=generator)
    light = _light_on(opacity, ASIDE * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1))
    hazy = torch.lerp(drawings[:, :3], HAZE_GREY * opacity, HAZE)
    shaded = torch.lerp(hazy, shadow * opacity, DEEPER * strength * (-light).clamp_min(0))
    warm = torch.tensor(LIGHT).view(1, 3, 1, 1) * opacity
    return torch.cat([torch.lerp(shaded, warm, strength * light.clamp_min(0)), opacity], dim=1)


def _light_on(opacity: Tensor, aside: Tensor) -> Tensor:
    """How light or dark [N, 1, H, W], in [-1, 1], outlines are that swell towards the light. aside: [N, 1, 1, 1]."""
    swelling = (_blurred(opacity, 11) + _blurred(opacity, 25)) / 2
    across, down = _slopes(swelling)
    height, width = opacity.shape[2:]
    x, y = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height).unsqueeze(1)
    towards_x, towards_y = aside.sin(), -aside.cos()
    lit = SLOPE * (x * towards_x + y * towards_y) - ROUNDNESS * (across * towards_x + down * towards_y)
    return _blurred(lit, 5).tanh()


def _slopes(images: Tensor) -> tuple[Tensor, Tensor]:
    """How steeply images [N, C, H, W] rise to the right and downwards, over two pixels; 0 at the border."""
    across = F.pad(images[..., 2:] - images[..., :-2], (1, 1, 0, 0))
    return across, F.pad(images[..., 2:, :] - images[..., :-2, :], (0, 0, 1, 1))


def _blurred(images: Tensor, width: int) -> Tensor:
    """Twice the mean of `width` x `width` pixels, an odd number."""
    for _ in range(2):
        images = F.avg_pool2d(F.pad(images, (width // 2,) * 4, mode="replicate"), width, stride=1)
    return images


def _brightness(drawings: Tensor) -> Tensor:
    return (drawings[:, :3] * torch.tensor(BRIGHTNESS).view(1, 3, 1, 1)).sum(1, keepdim=True)
