"""The surface of a generated head as a coloured mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .generator import Eg3dGenerator
from .isosurface import isosurface
from .marching import density
from .renderer import Field

LEVEL = 10.0
POINTS = 2**18  # at a time, by default


@dataclass(frozen=True)
class Mesh:
    """A coloured surface of triangles.

    vertices: [V, 3] in the world's units (y up, a face looks along z). faces: [F, 3], counterclockwise from outside.
    colours: [V, 3] in [0, 1].
    """

    vertices: Tensor
    faces: Tensor
    colours: Tensor


@torch.no_grad()
def extract_mesh(
    generator: Eg3dGenerator,
    planes: Tensor,
    *,
    resolution: int = 128,
    level: float = LEVEL,
    points_at_once: int = POINTS,
    check: Callable[[], None] = lambda: None,
) -> Mesh:
    """Extract the closed surface at which the density per unit of length is `level`.

    planes: [1, 3, C, H, W]. resolution: points of the grid along each edge of the box. Colours are those of the volume,
    before the super-resolution. check: called before each part of the grid; it may raise. Raises ValueError if there is
    no such surface.
    """
    field, box = generator.field(planes), generator.config.rendering.box
    densities = _density_grid(field, planes, resolution, box, points_at_once, check)
    vertices, faces = isosurface(densities, level)
    if not len(faces):
        raise ValueError(
            f"The density is at most {float(densities.max()):.3g} and nowhere above {level:g}: take a lower level."
        )
    vertices = vertices * (box / (resolution - 1)) - box / 2
    colours = torch.cat([field(part[None])[1][0, :, :3] for part in vertices.split(points_at_once)])
    return Mesh(vertices, faces, colours.clamp(0, 1))


def _density_grid(
    field: Field, planes: Tensor, resolution: int, box: float, points_at_once: int, check: Callable[[], None]
) -> Tensor:
    along = torch.linspace(-box / 2, box / 2, resolution, device=planes.device, dtype=planes.dtype)
    densities = []
    for start in range(0, resolution**3, points_at_once):
        check()
        part = torch.arange(start, min(start + points_at_once, resolution**3), device=planes.device)
        places = along[torch.stack(torch.unravel_index(part, (resolution,) * 3), dim=-1)]
        densities.append(density(field(places[None])[0][0]))
    return torch.cat(densities).unflatten(0, (resolution,) * 3)
