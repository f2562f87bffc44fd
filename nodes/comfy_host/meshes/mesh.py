"""The host's MESH as the library's surface, and a painted surface as a MESH."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import comfy.model_management
import torch
from comfy_api.latest._util import MESH
from torch import Tensor

from ....domain_guidance.diffusion.double_precision import has_double
from ....domain_guidance.meshes import MeshError, Surface, Views
from ..out_of_memory import out_of_memory


@dataclass(frozen=True)
class MeshViews:
    """What flows along a VIEWS link: a surface, and the cameras that look at it."""

    surface: Surface
    views: Views


def surface_of(mesh: MESH) -> Surface:
    """The one mesh of a MESH, on the device that the host computes on, or on the CPU where that has no fp64.

    Raises MeshError for several.
    """
    if len(mesh.vertices) != 1:
        raise MeshError(f"{len(mesh.vertices)} meshes came in one batch, but one is expected: use Merge Meshes first.")
    vertices, faces = mesh.vertices[0], mesh.faces[0]
    uvs = None if mesh.uvs is None else mesh.uvs[0]
    if mesh.vertex_counts is not None and mesh.face_counts is not None:
        count = int(mesh.vertex_counts[0])
        vertices, faces, uvs = vertices[:count], faces[: int(mesh.face_counts[0])], None if uvs is None else uvs[:count]
    computing = comfy.model_management.get_torch_device()
    device = computing if has_double(computing) else torch.device("cpu")
    return Surface(
        vertices.to(device).float(),
        faces.to(device).long(),
        None if uvs is None else _within_texture(uvs.to(device).float()),
    )


def check_same(surface: Surface, mesh_views: MeshViews) -> None:
    """Raises MeshError if the views were made from a mesh of another place, size, direction or form.

    Unwrapping changes none of these.
    """
    seen = mesh_views.surface
    apart = float((surface.centre - seen.centre).norm()) + abs(surface.radius - seen.radius)
    turned = float((surface.moments - seen.moments).norm())
    if apart > 1e-3 * seen.radius or turned > 1e-3:
        raise MeshError(
            "The views were made from another mesh, or before it was moved, turned or scaled: connect the same mesh to "
            "Views Of Mesh and Paint Mesh From Views."
        )


@contextmanager
def room_for(needed: int, device: torch.device, advice: str) -> Iterator[None]:
    """Within the block the device has so many bytes free, if it can.

    Raises ValueError, one sentence that ends with the advice, if the device runs out of memory all the same.
    """
    comfy.model_management.free_memory(needed, device)
    with out_of_memory(lambda: f"The device ran out of memory with the mesh: {advice}."):
        yield


def as_mesh(surface: Surface) -> MESH:
    """A surface as the host's MESH of one object."""
    return MESH(surface.vertices[None], surface.faces[None], None if surface.uvs is None else surface.uvs[None])


def _within_texture(uvs: Tensor) -> Tensor:
    """Coordinates beyond the texture are fitted into it, as the host's own baking nodes do."""
    low, high = uvs.amin(0), uvs.amax(0)
    if float(low.min()) >= -1e-4 and float(high.max()) <= 1.0001:
        return uvs
    return (uvs - low) / (high - low).max().clamp_min(1e-12)


def with_texture(mesh: MESH, surface: Surface, texture: Tensor) -> MESH:
    """`mesh` with another texture [T, T, 3] and the coordinates that it was painted with.

    It has no vertex colours, because viewers multiply the texture by them (glTF 2.0, section 3.9.2); nothing else
    changes.
    """
    painted = copy.copy(mesh)
    painted.vertex_colors = None
    painted.texture = texture[None].cpu()
    if mesh.uvs is not None and surface.uvs is not None:
        uvs = mesh.uvs.clone()
        uvs[0, : len(surface.uvs)] = surface.uvs.to(uvs)
        painted.uvs = uvs
    return painted
