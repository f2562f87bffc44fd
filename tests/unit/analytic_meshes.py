"""Meshes whose points, normals and colours are known in closed form."""

import math

import torch

from domain_guidance.meshes import Surface


def _grid(rows, columns):
    """Two triangles for every cell of a grid of vertices."""
    corner = torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)
    below, right = corner + columns + 1, corner + 1
    one, two = torch.stack((corner, below, right), -1), torch.stack((right, below, below + 1), -1)
    return torch.cat((one.reshape(-1, 3), two.reshape(-1, 3)))


def _swept(place, rows, columns):
    down, across = torch.meshgrid(torch.linspace(0, 1, rows + 1), torch.linspace(0, 1, columns + 1), indexing="ij")
    return Surface(
        place(down, across).reshape(-1, 3), _grid(rows, columns), torch.stack((across, down), -1).view(-1, 2)
    )


def sphere(rows=96, columns=192, centre=(0.0, 0.0, 0.0), radius=1.0):
    def place(down, across):
        polar, turn = math.pi * down, 2 * math.pi * across
        round_ = torch.stack((polar.sin() * turn.sin(), polar.cos(), polar.sin() * turn.cos()), -1)
        return torch.tensor(centre) + radius * round_

    return _swept(place, rows, columns)


def torus(rows=96, columns=192, large=1.0, small=0.4):
    """About the y axis; seen from the front, its near side hides a part of its far side."""

    def place(down, across):
        tube, turn = 2 * math.pi * down, 2 * math.pi * across
        out = large + small * tube.cos()
        return torch.stack((out * turn.sin(), small * tube.sin(), out * turn.cos()), -1)

    return _swept(place, rows, columns)


def box():
    """A cube of edge 2 with a chart for every side, three by two."""
    vertices, faces, uvs = [], [], []
    for side in range(6):
        axis, sign = side // 2, 1.0 if side % 2 else -1.0
        for u, v in ((0, 0), (1, 0), (1, 1), (0, 1)):
            corner = [0.0, 0.0, 0.0]
            corner[axis], corner[(axis + 1) % 3], corner[(axis + 2) % 3] = sign, 2.0 * u - 1, 2.0 * v - 1
            vertices.append(corner)
            uvs.append(((side % 3 + 0.02 + 0.96 * u) / 3, (side // 3 + 0.02 + 0.96 * v) / 2))
        first = 4 * side
        square = [[first, first + 1, first + 2], [first, first + 2, first + 3]]
        faces += square if sign > 0 else [face[::-1] for face in square]  # the outside is the front
    return Surface(torch.tensor(vertices), torch.tensor(faces), torch.tensor(uvs))


def together(*surfaces):
    """Several surfaces as one, their charts beside each other."""
    vertices, faces, uvs, count = [], [], [], 0
    for number, surface in enumerate(surfaces):
        vertices.append(surface.vertices)
        faces.append(surface.faces + count)
        uvs.append((surface.uvs + torch.tensor([float(number), 0.0])) / torch.tensor([float(len(surfaces)), 1.0]))
        count += len(surface.vertices)
    return Surface(torch.cat(vertices), torch.cat(faces), torch.cat(uvs))


def torn(surface, seed=0):
    """The same surface with a tenth of its triangles gone and every second one turned over."""
    faces = surface.faces[torch.rand(len(surface.faces), generator=torch.Generator().manual_seed(seed)) > 0.1]
    faces = torch.where((torch.arange(len(faces)) % 2 == 0)[:, None], faces, faces.flip(1))
    return Surface(surface.vertices, faces, surface.uvs)


def colour(points):
    """A smooth colour, 0 to 1, of points [..., 3] in space."""
    x, y, z = points.unbind(-1)
    return 0.5 + 0.4 * torch.stack(((3 * x).sin(), (2.5 * y + 1).sin(), (2 * z + x).cos()), -1)
