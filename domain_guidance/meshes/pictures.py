"""Views as pictures that ControlNets read: depth, normals and silhouettes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .raster import Fragments
from .surface import Surface
from .views import Views

FAR = 0.2  # of what is farthest away; the background is 0


def depth_pictures(drawn: Sequence[Fragments]) -> Tensor:
    """Depth [V, H, W], 1 at the nearest point of all views, 0.2 at the farthest, 0 on the background."""
    depth = torch.stack([fragments.depth for fragments in drawn])
    covered = depth.isfinite()
    if not bool(covered.any()):
        return torch.zeros_like(depth)
    near, far = depth[covered].min(), depth[covered].max()
    share = (far - depth) / (far - near).clamp_min(1e-6 * far)
    return torch.where(covered, FAR + (1 - FAR) * share, 0.0)


def normal_pictures(surface: Surface, views: Views, drawn: Sequence[Fragments]) -> Tensor:
    """Smooth normals [V, H, W, 3] in the camera's frame: red right, green up, blue to the viewer; (0.5, 0.5, 1) is
    the background.
    """
    smooth = vertex_normals(surface)
    pictures = []
    for fragments, axes in zip(drawn, views.axes, strict=True):
        own = fragments.interpolate(smooth, surface.faces) @ axes.T * axes.new_tensor([1.0, 1.0, -1.0])
        own = functional.normalize(torch.where(own[..., 2:] < 0, -own, own), dim=-1)  # of the side that is seen
        flat = own.new_tensor([0.0, 0.0, 1.0])
        pictures.append(torch.where(fragments.covered[..., None], own, flat) / 2 + 0.5)
    return torch.stack(pictures)


def vertex_normals(surface: Surface) -> Tensor:
    """The unit normal of every vertex [N, 3], of its triangles by their areas; vertices in one place share theirs."""
    first, second, third = surface.corners.unbind(1)
    twice_area = torch.linalg.cross(second - first, third - first)
    groups = surface.welded[surface.faces]
    summed = surface.vertices.new_zeros(int(surface.welded.max()) + 1, 3)
    summed.index_add_(0, groups.flatten(), twice_area[:, None].expand(-1, 3, -1).flatten(0, 1))
    return functional.normalize(summed, dim=1)[surface.welded]
