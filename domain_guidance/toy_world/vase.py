"""A vase as a mesh: something to paint without a download."""

from __future__ import annotations

from math import pi

import torch

from ..meshes import Surface

ROWS, COLUMNS = 48, 96
CLOSED = 0.04  # of the height: within it, from either end, the outline turns in


def vase() -> Surface:
    """A closed surface of revolution about the y axis, 2 high, with one chart round its side."""
    down, across = torch.meshgrid(torch.linspace(0, 1, ROWS + 1), torch.linspace(0, 1, COLUMNS + 1), indexing="ij")
    belly, lip = (-(((down - 0.58) / 0.22) ** 2)).exp(), (-((down / 0.1) ** 2)).exp()
    ends = (torch.minimum(down, 1 - down) / CLOSED).clamp(0, 1).sqrt()
    radius = (0.3 + 0.36 * belly + 0.14 * lip) * ends
    turn = 2 * pi * across
    vertices = torch.stack((radius * turn.sin(), 1 - 2 * down, radius * turn.cos()), dim=2).view(-1, 3)
    corner = torch.arange(ROWS)[:, None] * (COLUMNS + 1) + torch.arange(COLUMNS)
    below, right = corner + COLUMNS + 1, corner + 1
    faces = torch.cat(
        (torch.stack((corner, below, right), -1).view(-1, 3), torch.stack((right, below, below + 1), -1).view(-1, 3))
    )
    return Surface(vertices, faces, torch.stack((across, down), dim=2).view(-1, 2))
