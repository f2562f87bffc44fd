"""A triangle mesh as this library takes it: one object, on one device, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional


class MeshError(ValueError):
    """A mesh that cannot be used; the message says what came, what was expected and what to do."""


@dataclass(frozen=True)
class Surface:
    """The triangles of one mesh.

    vertices: [N, 3] in world units, y up. faces: [M, 3], indices of vertices; either winding, both sides are drawn.
    uvs: [N, 2] in [0, 1], (0, 0) the upper left corner of the texture as in glTF, or None.
    Raises MeshError for a mesh without a triangle, with a number that is not finite, or with an index out of range.
    """

    vertices: Tensor
    faces: Tensor
    uvs: Tensor | None = None

    def __post_init__(self):
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3 or self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise MeshError(
                f"The mesh has vertices of shape {list(self.vertices.shape)} and faces of shape "
                f"{list(self.faces.shape)}, but [N, 3] and [M, 3] are expected: connect a mesh of triangles."
            )
        if not len(self.faces):
            raise MeshError("The mesh has no triangles: connect one that has, such as the output of Voxel to Mesh.")
        if not bool(self.vertices.isfinite().all()):
            raise MeshError("The mesh has vertices that are not finite numbers: make or export it again.")
        lowest, highest = int(self.faces.min()), int(self.faces.max())
        if lowest < 0 or highest >= len(self.vertices):
            raise MeshError(
                f"A triangle of the mesh names vertex {lowest if lowest < 0 else highest}, but there are "
                f"{len(self.vertices)} vertices: make or export the mesh again."
            )
        if self.uvs is not None and self.uvs.shape != (len(self.vertices), 2):
            raise MeshError(
                f"The mesh has texture coordinates of shape {list(self.uvs.shape)}, but "
                f"[{len(self.vertices)}, 2] is expected: unwrap it again with Unwrap Mesh UVs."
            )

    @cached_property
    def corners(self) -> Tensor:
        """The corners of every triangle, [M, 3, 3]."""
        return self.vertices[self.faces]

    @cached_property
    def normals(self) -> Tensor:
        """The unit normal of every triangle, [M, 3]; zero for a triangle without area."""
        first, second, third = self.corners.unbind(1)
        return functional.normalize(torch.linalg.cross(second - first, third - first), dim=1, eps=1e-20)

    @cached_property
    def welded(self) -> Tensor:
        """A number for each vertex [N], the same for vertices in one place, which the border of a chart parts."""
        steps = ((self.vertices - self.centre) / max(self.radius, 1e-20) * 1e5).round().long()
        return torch.unique(steps, dim=0, return_inverse=True)[1]

    @cached_property
    def oriented(self) -> bool:
        """Whether all triangles show the same side: no two of them run along an edge in the same direction."""
        corners = self.welded[self.faces]
        corners = corners[(corners != corners.roll(1, 1)).all(1)]  # at a pole a triangle may have shrunk to a line
        edges = corners.flatten() * len(self.vertices) + corners.roll(-1, 1).flatten()
        return len(edges.unique()) == len(edges)

    @cached_property
    def moments(self) -> Tensor:
        """The first, second and third moments of the triangles about `centre`, by area, in units of `radius`, [39].

        A mesh that was turned or mirrored onto something else than itself has others; cutting it into charts changes
        none. The odd ones tell a half turn, which may leave the second as they are.
        """
        first, second, third = self.corners.double().unbind(1)
        area = torch.linalg.cross(second - first, third - first).norm(dim=1)
        share = area / area.sum().clamp_min(1e-30)
        middles = ((first + second + third) / 3 - self.centre) / max(self.radius, 1e-30)
        products = "ni->i", "ni,nj->ij", "ni,nj,nk->ijk"
        found = [torch.einsum(f"n,{by}", share, *[middles] * order) for order, by in enumerate(products, 1)]
        return torch.cat([moment.flatten() for moment in found])

    @property
    def centre(self) -> Tensor:
        """The middle of the bounding box, [3]."""
        used = self.corners.flatten(0, 1)
        return (used.amin(0) + used.amax(0)) / 2

    @property
    def radius(self) -> float:
        """The radius of the smallest sphere about `centre` that holds every triangle."""
        return float((self.corners.flatten(0, 1) - self.centre).norm(dim=1).max())
