"""Perspective cameras round a surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import cos, pi, sin, tan

import torch
from torch import Tensor
from torch.nn import functional

from .surface import MeshError, Surface

STEEP = 0.99  # the cosine to the vertical from which z is taken for up, as ComfyUI's own cameras do


@dataclass(frozen=True)
class Views:
    """Cameras [V] that look at one target with one lens; right-handed, y up, as in glTF and three.js.

    eyes: [V, 3] in world units. target: [3]. field_of_view: vertical, in radians. height, width: of a picture, in
    pixels. Picture coordinates run from (-1, -1) at the upper left corner to (1, 1), as `grid_sample` without
    `align_corners` takes them.
    """

    eyes: Tensor
    target: Tensor
    field_of_view: float
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.eyes)

    @cached_property
    def axes(self) -> Tensor:
        """The directions right, up and forward of every camera, as the rows of [V, 3, 3]."""
        forward = functional.normalize(self.target - self.eyes, dim=1)
        vertical = forward[:, 1:2].abs() >= STEEP
        upright, level = forward.new_tensor([0.0, 1.0, 0.0]), forward.new_tensor([0.0, 0.0, 1.0])
        right = functional.normalize(torch.linalg.cross(forward, torch.where(vertical, level, upright)), dim=1)
        return torch.stack((right, torch.linalg.cross(right, forward), forward), dim=1)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points [P, 3] in world units -> picture coordinates [V, P, 2] and depth along the axis [V, P]."""
        own = torch.einsum("vij,vpj->vpi", self.axes, points - self.eyes[:, None])
        right, up, depth = own.unbind(2)
        focal = 1 / tan(self.field_of_view / 2)
        aspect = self.width / self.height
        ahead = torch.where(depth > 0, depth, torch.nan)  # what lies behind a camera is in no picture
        return torch.stack((focal * right / (ahead * aspect), -focal * up / ahead), dim=2), depth

    def at(self, height: int, width: int) -> Views:
        """The same cameras with pictures of another size, such as that of their latents."""
        return Views(self.eyes, self.target, self.field_of_view, height, width)


def arrange(surface: Surface, arrangement: str, *, count: int, field_of_view: float, height: int, width: int) -> Views:
    """Cameras about `surface` that all see the whole of it.

    arrangement: one of `ARRANGEMENTS`. count: of the ring's cameras, evenly spaced from the front (z) to the right (x).
    field_of_view: vertical, in radians; the nearest distance at which the surface fits is taken.
    Raises MeshError for a surface without extent, ValueError for an unknown arrangement.
    """
    if arrangement not in ARRANGEMENTS:
        raise ValueError(f"The arrangement '{arrangement}' was asked for: choose one of {', '.join(ARRANGEMENTS)}.")
    radius = surface.radius
    if radius <= 0:
        raise MeshError("All triangles of the mesh lie in one point: connect a mesh with an extent.")
    narrow = torch.tensor(tan(field_of_view / 2) * min(1.0, width / height)).atan()
    distance = 1.04 * radius / float(narrow.sin())
    directions = surface.vertices.new_tensor(ARRANGEMENTS[arrangement](count))
    eyes = surface.centre + distance * directions
    return Views(eyes, surface.centre, field_of_view, height, width)


def _ring(count: int, pitch: float = 0.0) -> list[tuple[float, float, float]]:
    turns = (2 * pi * number / count for number in range(count))
    return [(sin(turn) * cos(pitch), sin(pitch), cos(turn) * cos(pitch)) for turn in turns]


_POLES = [(0.0, 1.0, 0.0), (0.0, -1.0, 0.0)]

ARRANGEMENTS: dict[str, Callable[[int], list[tuple[float, float, float]]]] = {
    "ring, top and bottom": lambda count: _ring(count) + _POLES,
    "ring": _ring,
    "ring from above": lambda count: _ring(count, pi / 6),
    "two rings": lambda count: _ring(count, pi / 6) + _ring(count, -pi / 6),
}
