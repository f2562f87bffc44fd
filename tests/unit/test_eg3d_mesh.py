"""Meshes: surfaces of analytic fields, and of an EG3D generator."""

from collections import Counter
from math import pi

import pytest
import torch
from eg3d_surfaces import surfaces
from torch.utils._python_dispatch import TorchDispatchMode

from domain_guidance.generators.eg3d import extract_mesh
from domain_guidance.generators.eg3d.isosurface import isosurface
from domain_guidance.generators.eg3d.marching import density


def places(*sizes):
    return torch.stack(
        torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in sizes), indexing="ij"), dim=-1
    )


def triangles(vertices, faces):
    a, b, c = vertices[faces].unbind(1)
    return a, torch.linalg.cross(b - a, c - a)


def area(vertices, faces):
    return float(triangles(vertices, faces)[1].norm(dim=1).sum() / 2)


def volume(vertices, faces):
    corner, normal = triangles(vertices, faces)
    return float((corner * normal).sum() / 6)


def assert_closed(vertices, faces):
    """Each edge is passed once in each direction, which closed surfaces that turn the same way everywhere have."""
    edges = Counter(edge for face in faces.tolist() for edge in zip(face, face[1:] + face[:1]))
    assert edges and set(edges.values()) == {1} and all((b, a) in edges for a, b in edges)
    assert sorted(set(faces.flatten().tolist())) == list(range(len(vertices)))


def euler(vertices, faces):
    return len(vertices) - len(faces) * 3 // 2 + len(faces)


def test_a_sphere_has_its_area_and_volume_is_closed_and_faces_outward():
    centre, radius = torch.tensor([16.2, 15.7, 14.9], dtype=torch.float64), 11.3
    vertices, faces = isosurface(radius - (places(32, 33, 30) - centre).norm(dim=-1), 0.0)
    assert_closed(vertices, faces)
    assert euler(vertices, faces) == 2
    assert abs(volume(vertices, faces) / (4 / 3 * pi * radius**3) - 1) < 0.005
    assert abs(area(vertices, faces) / (4 * pi * radius**2) - 1) < 0.005
    assert ((vertices - centre).norm(dim=1) - radius).abs().max() < 1.1 * 3 / (
        8 * radius
    )  # the sagitta over a cube's diagonal
    corner, normal = triangles(vertices, faces)
    assert ((corner - centre) * normal).sum(1).min() > 0


def test_a_torus_has_a_hole():
    x, y, z = (places(40, 40, 20) - torch.tensor([19.4, 19.6, 9.3], dtype=torch.float64)).unbind(-1)
    vertices, faces = isosurface(5 - (((x**2 + y**2).sqrt() - 12) ** 2 + z**2).sqrt(), 0.0)
    assert_closed(vertices, faces)
    assert euler(vertices, faces) == 0
    assert abs(volume(vertices, faces) / (2 * pi**2 * 12 * 25) - 1) < 0.02


def test_a_plane_is_met_exactly_and_a_field_that_reaches_the_border_is_closed_there():
    field = 4.25 - places(9, 6, 7)[..., 0]
    vertices, faces = isosurface(field, 0.0)
    assert_closed(vertices, faces)
    inside = (vertices[:, 0] > 1) & (vertices[:, 1:] > 1).all(1) & (vertices[:, 1] < 4) & (vertices[:, 2] < 5)
    torch.testing.assert_close(vertices[inside, 0], torch.full_like(vertices[inside, 0], 4.25))
    assert volume(vertices, faces) > 4.25 * 5 * 6


def test_a_field_that_is_inside_everywhere_is_closed_half_a_step_around_it():
    vertices, faces = isosurface(torch.ones(3, 4, 5, dtype=torch.float64), 0.0)
    assert_closed(vertices, faces)
    assert 2 * 3 * 4 < volume(vertices, faces) <= 3 * 4 * 5
    assert vertices.min() == -0.5 and vertices[:, 2].max() == 4.5


@pytest.mark.parametrize("seed", range(3))
def test_a_field_of_noise_has_closed_surfaces_too(seed):
    """It holds every pattern of corners that there is."""
    field = torch.randn(7, 6, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    vertices, faces = isosurface(field, 0.1)
    edges = Counter(edge for face in faces.tolist() for edge in zip(face, face[1:] + face[:1]))
    assert all(count == edges[b, a] for (a, b), count in edges.items())
    assert volume(vertices, faces) > 0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_value_exactly_at_the_level_is_outside(value):
    field = torch.zeros(3, 3, 3, dtype=torch.float64)
    field[1, 1, 1] = value
    vertices, faces = isosurface(field, 0.0)
    assert bool(len(faces)) == bool(value)


def test_the_mesh_of_a_generator_lies_where_its_density_has_the_level_and_has_its_colours():
    generator, ws = surfaces(seed=1, sharpness=5.0)
    planes = generator.planes(ws)
    mesh = extract_mesh(generator, planes, resolution=48, level=0.5)
    assert_closed(mesh.vertices, mesh.faces)
    assert mesh.vertices.abs().max() <= 0.5 + 1 / 47 and mesh.colours.min() >= 0 and mesh.colours.max() <= 1
    inside = mesh.vertices.abs().amax(1) < 0.49
    raw, colours = generator.field(planes)(mesh.vertices[None])
    error = (density(raw[0, inside]) - 0.5).abs()
    assert inside.sum() > 500 and error.median() < 0.05
    torch.testing.assert_close(mesh.colours, colours[0, :, :3].clamp(0, 1))
    parts = extract_mesh(generator, planes, resolution=48, level=0.5, points_at_once=1000)
    torch.testing.assert_close(parts.vertices, mesh.vertices)
    assert torch.equal(parts.faces, mesh.faces)


class NoIntegerProducts(TorchDispatchMode):
    """CUDA, as far as it has no matrix product of whole numbers."""

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        if operation.overloadpacket.__name__ in ("mm", "mv", "dot", "bmm", "addmm", "addmv"):
            assert all(part.is_floating_point() for part in arguments if isinstance(part, torch.Tensor)), operation
        return operation(*arguments, **(keywords or {}))


def test_a_surface_is_found_without_what_cuda_has_not():
    with NoIntegerProducts(), pytest.raises(AssertionError):
        torch.ones(2, 2, dtype=torch.long) @ torch.ones(2, dtype=torch.long)
    with NoIntegerProducts():
        assert len(isosurface(2 - (places(7, 7, 7) - 3).norm(dim=-1), 0.0)[1])


def test_a_mesh_can_be_interrupted_between_the_parts_of_its_grid():
    generator, ws = surfaces(seed=1, sharpness=5.0)
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        extract_mesh(generator, generator.planes(ws), resolution=16, level=0.5, points_at_once=1000, check=check)


def test_a_density_without_a_surface_is_said():
    generator, ws = surfaces(seed=1)
    with pytest.raises(ValueError, match="lower level"):
        extract_mesh(generator, generator.planes(ws), resolution=8, level=1e9)
