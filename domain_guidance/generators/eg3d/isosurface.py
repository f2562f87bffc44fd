"""Marching tetrahedra (Doi and Koide, 1991): the surface on which a field on a grid has one value, as triangles.

Each cube of the grid is cut into six tetrahedra along its main diagonal, in the same way everywhere, so that neighbours
agree on
every edge: the surface is closed without looking at ambiguous cases, of which marching cubes has some.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional as F

CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]  # number 4x + 2y + z


def isosurface(field: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """The surface around where a field [X, Y, Z] is above `level`.

    Returns vertices [V, 3] in steps of the grid, and faces [F, 3], which turn counterclockwise as seen from outside.
    The surface is closed, also where the field is above the level at the grid's border: around it lies one more layer,
    as far below the level as the largest value is above.
    """
    field = F.pad(field, (1,) * 6, value=min(level, 2 * level - float(field.max())))
    ends = _edges(_tetrahedra(_cut_cubes(field > level)), (field > level).flatten())
    keys, faces = (ends[..., 0] * field.numel() + ends[..., 1]).unique(return_inverse=True)
    edges = torch.stack((keys // field.numel(), keys % field.numel()), dim=-1)
    return _crossings(field, edges, level) - 1, faces


def _cut_cubes(inside: Tensor) -> Tensor:
    """The corners' numbers [C, 8] of those cubes that are neither inside nor outside as a whole."""
    size = [length - 1 for length in inside.shape]
    parts = [inside[x : x + size[0], y : y + size[1], z : z + size[2]] for x, y, z in CORNERS]
    count = torch.zeros_like(parts[0], dtype=torch.int8)
    for part in parts:
        count += part
    at = ((count > 0) & (count < 8)).nonzero()
    strides = at.new_tensor([inside.shape[1] * inside.shape[2], inside.shape[2], 1])
    # Sums, for CUDA has no matrix product of whole numbers.
    return (at * strides).sum(1)[:, None] + (at.new_tensor(CORNERS) * strides).sum(1)[None]


def _tetrahedra(cubes: Tensor) -> Tensor:
    """[C, 8] to [6 C, 4]: each a path of three edges from the first corner to the last, turned so that its volume is
    positive.
    """
    paths = []
    for a, b, c in permutations((4, 2, 1)):
        path = [0, a, a + b, 7]
        paths.append(path if _is_even((a, b, c), (4, 2, 1)) else [path[0], path[1], path[3], path[2]])
    return cubes[:, paths].flatten(0, 1)


def _edges(tetrahedra: Tensor, inside: Tensor) -> Tensor:
    """The cut edges of all triangles, [F, 3, 2], each by its two corners in rising order."""
    bits = (inside[tetrahedra] * tetrahedra.new_tensor([1, 2, 4, 8])).sum(1)
    found = [tetrahedra[bits == case][:, triangles].flatten(0, 1) for case, triangles in _cases().items()]
    return torch.cat(found).sort(dim=-1).values


def _cases() -> dict[int, list]:
    """For each pattern of corners inside, one bit each, the triangles of a tetrahedron of positive volume: three edges,
    two corners each.
    """
    cases = {}
    for case in range(1, 15):
        inside = [corner for corner in range(4) if case >> corner & 1]
        outside = [corner for corner in range(4) if not case >> corner & 1]
        first, *rest = (inside + outside) if len(inside) < 3 else (outside + inside)
        if not _is_even((first, *rest), (0, 1, 2, 3)):
            rest[-2:] = reversed(rest[-2:])
        a, b, c = rest
        if len(inside) == 2:
            quad = ((first, b), (first, c), (a, c), (a, b))
            cases[case] = [[quad[0], quad[1], quad[2]], [quad[0], quad[2], quad[3]]]
        else:
            triangle = [(first, a), (first, b), (first, c)]
            cases[case] = [triangle if len(inside) == 1 else triangle[::-1]]
    return cases


def _is_even(order: tuple[int, ...], of: tuple[int, ...]) -> bool:
    places = [of.index(item) for item in order]
    return sum(later < earlier for i, earlier in enumerate(places) for later in places[i + 1 :]) % 2 == 0


def _crossings(field: Tensor, edges: Tensor, level: float) -> Tensor:
    """Where the field has the level on edges [V, 2], by linear interpolation."""
    values = field.flatten()[edges]
    share = (level - values[:, 0]) / (values[:, 1] - values[:, 0])
    places = torch.stack(torch.unravel_index(edges, field.shape), dim=-1).to(field.dtype)
    return torch.lerp(places[:, 0], places[:, 1], share[:, None])
