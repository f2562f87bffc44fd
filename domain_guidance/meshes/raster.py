"""Triangles to pixels, in plain PyTorch: which triangle is nearest at every pixel, and where in it.

Triangles are sorted by the size of their bounding boxes, and all of one size are tried against their pixels at once.
The nearest wins through one integer that holds the depth's bits above the triangle's number, so that the answer does
not depend on the order of the work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PIXELS = 2**20  # tried at once; bounds the memory
EDGE = 1e-6  # barycentric; a pixel on a shared edge belongs to both triangles, and to one of them in the end
NOTHING = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Fragments:
    """The nearest triangle at every pixel.

    face: [H, W], -1 where there is none. weights: barycentric, [H, W, 3], of the point itself, not of its picture.
    depth: [H, W] along the camera's axis, infinite where there is none.
    """

    face: Tensor
    weights: Tensor
    depth: Tensor

    @property
    def covered(self) -> Tensor:
        """Where there is a triangle, [H, W]."""
        return self.face >= 0

    def interpolate(self, values: Tensor, faces: Tensor) -> Tensor:
        """Values [N, K] of the vertices at every pixel, [H, W, K]; zero where there is no triangle."""
        corners = values[faces[self.face.clamp_min(0)]]
        return torch.where(self.covered[..., None], (corners * self.weights[..., None]).sum(-2), values.new_zeros(()))


def rasterise(places: Tensor, depth: Tensor, faces: Tensor, height: int, width: int) -> Fragments:
    """The nearest of many triangles at the centre of every pixel.

    places: [N, 2] of the vertices, from (-1, -1) at the upper left corner to (1, 1). depth: [N], above 0, constant for
    an orthographic picture; triangles with a vertex at or behind 0 are left out. faces: [M, 3].
    """
    pixels = (places + 1) / 2 * places.new_tensor([width, height]) - 0.5  # whole numbers at the centres
    corners, near = pixels[faces].double(), depth[faces].double()
    low = corners.amin(1).ceil()
    high = corners.amax(1).floor()
    limit = low.new_tensor([width - 1, height - 1])
    inside = (near > 0).all(1) & corners.isfinite().flatten(1).all(1)
    low = low.clamp_min(0)
    extent = (torch.minimum(high, limit) - low + 1).amax(1)
    extent = torch.where(inside & (torch.minimum(high, limit) >= low).all(1), extent, 0)
    buffer = torch.full((height * width,), NOTHING, dtype=torch.int64, device=places.device)
    side = 1
    while True:
        chosen = ((extent > side // 2) & (extent <= side)).nonzero()[:, 0]
        for part in chosen.split(max(1, PIXELS // side**2)):
            _draw(buffer, corners[part], near[part], low[part].long(), part, side, height, width)
        if side >= max(height, width):
            break
        side *= 2
    return _fragments(buffer.view(height, width), corners, near)


def _draw(buffer, corners, near, low, numbers, side, height, width) -> None:
    """Lower `buffer` [H * W] where one of the triangles [n] is nearer, within a square of `side` pixels from `low`."""
    # Weights and inverse depth are affine over the picture. From the square's corner on, their numbers stay small.
    start = _flat_weights(corners, low.double())
    along_x = _flat_weights(corners, low + low.new_tensor([1, 0])) - start
    along_y = _flat_weights(corners, low + low.new_tensor([0, 1])) - start
    steps = torch.arange(side, device=low.device)

    def over_square(values: Tensor, by_x: Tensor, by_y: Tensor) -> Tensor:
        across = values[:, None] + by_x[:, None] * steps
        return across.float()[:, None] + (by_y[:, None] * steps).float()[:, :, None]

    hit = torch.ones(len(corners), side, side, dtype=torch.bool, device=low.device)
    for corner in range(3):
        hit &= over_square(start[:, corner], along_x[:, corner], along_y[:, corner]) >= -EDGE
    hit &= (low[:, :1] + steps < width)[:, None] & (low[:, 1:] + steps < height)[:, :, None]
    found, row, column = hit.nonzero().unbind(1)
    inverse = over_square(*((weights / near).sum(1) for weights in (start, along_x, along_y)))[found, row, column]
    ahead = inverse > 0
    found, row, column, inverse = found[ahead], row[ahead], column[ahead], inverse[ahead]
    key = (1 / inverse).view(torch.int32).long() << 32 | numbers[found]
    buffer.scatter_reduce_(0, (low[found, 1] + row) * width + low[found, 0] + column, key, "amin")


def _fragments(buffer: Tensor, corners: Tensor, near: Tensor) -> Fragments:
    covered = buffer != NOTHING
    face = torch.where(covered, buffer & 0xFFFFFFFF, -1)
    height, width = face.shape
    y, x = torch.meshgrid(
        torch.arange(height, device=face.device), torch.arange(width, device=face.device), indexing="ij"
    )
    weights = corners.new_zeros(height, width, 3)
    depth = corners.new_full((height, width), torch.inf)
    chosen = face[covered]
    flat = _flat_weights(corners[chosen], torch.stack((x, y), dim=2)[covered].double())
    scaled = flat.clamp_min(0) / near[chosen]
    inverse = scaled.sum(1)
    weights[covered] = scaled / inverse[:, None]
    depth[covered] = 1 / inverse
    return Fragments(face, weights.float(), depth.float())


def _flat_weights(corners: Tensor, point: Tensor) -> Tensor:
    """Barycentric coordinates [..., 3] of points [..., 2] in the plane of the picture; NaN without area."""
    first, second, third = corners.unbind(-2)
    one, two, to = second - first, third - first, point - first
    area = _cross(one, two)
    b, c = _cross(to, two) / area, _cross(one, to) / area
    return torch.stack((1 - b - c, b, c), dim=-1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
