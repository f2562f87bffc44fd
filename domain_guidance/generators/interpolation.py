"""Ways through a generator's latents. Pure functions of tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Between = Callable[[Tensor, Tensor, float], Tensor]  # first, second, and the share of the second, 0 to 1


def walk(points: Tensor, frames: int, between: Between, *, loop: bool = False) -> Tensor:
    """Frames [frames, ...] at equal distances on the way through points [K, ...], K > 1, in their order.

    The first frame is the first point and, without `loop`, the last one the last. loop: the way goes on to the first
    point again, and ends one frame before it, so that the frames can be played in a circle.
    """
    legs = len(points) if loop else len(points) - 1
    positions = [legs * frame / (frames if loop else max(frames - 1, 1)) for frame in range(frames)]
    legs_begun = [(int(position), position % 1) for position in positions]
    return torch.stack([between(points[leg], points[(leg + 1) % len(points)], share) for leg, share in legs_begun])


def spherical(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Between two latents [z_dim] on the arc, which stays among likely lengths (arXiv 1609.04468, section 2.1)."""
    cosine = F.cosine_similarity(first.double(), second.double(), dim=0)
    angle = torch.acos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    if sine < 1e-6:
        return torch.lerp(first, second, share)
    before, after = (torch.sin(part * angle) / sine for part in (1 - share, share))
    return before.to(first) * first + after.to(first) * second
