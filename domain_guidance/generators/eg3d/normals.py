"""Surface normals and pictures of depth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .camera import split
from .rays import rays


def surface_points(depth: Tensor, cameras: Tensor) -> Tensor:
    """The world's points [N, 3, H, H] that cameras [N, 25] see at a depth [N, 1, H, H]."""
    origins, directions = rays(cameras, depth.shape[-1])
    points = origins + depth.flatten(1)[..., None] * directions
    return points.transpose(1, 2).unflatten(2, depth.shape[-2:])


def normals(depth: Tensor, cameras: Tensor) -> Tensor:
    """Unit normals [N, 3, H, H] of the surface at a depth [N, 1, H, H], H at least 2.

    They are as the camera sees them: x right, y up, z to the viewer.
    """
    points = F.pad(surface_points(depth, cameras), (1, 1, 1, 1), mode="replicate")
    across = points[..., 1:-1, 2:] - points[..., 1:-1, :-2]
    down = points[..., 2:, 1:-1] - points[..., :-2, 1:-1]
    world = F.normalize(torch.linalg.cross(down, across, dim=1), dim=1)
    right, below, forward = split(cameras)[0][:, :3, :3].unbind(2)
    return torch.einsum("nac,nchw->nahw", torch.stack((right, -below, -forward), dim=1), world)


def depth_picture(depth: Tensor, near: float, far: float) -> Tensor:
    """Depth as brightness in [0, 1], near white and far black, as pictures of depth for ControlNet have it."""
    return ((far - depth) / (far - near)).clamp(0, 1)
