"""The vase that the toy world gives to be painted."""

import torch

from domain_guidance.toy_world.vase import vase


def test_the_vase_is_closed_and_shows_its_outside():
    surface = vase()
    faces = surface.welded[surface.faces]
    faces = faces[(faces != faces.roll(1, 1)).all(1)]
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, met = edges.sort(1).values.unique(dim=0, return_counts=True)
    assert surface.oriented and (met == 2).all()
    volume = torch.linalg.det(surface.corners).sum() / 6
    assert volume > 0


def test_no_two_places_of_the_vase_share_a_place_of_its_texture():
    surface = vase()
    one, two = (surface.uvs[surface.faces[:, corner]] - surface.uvs[surface.faces[:, 0]] for corner in (1, 2))
    areas = (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) / 2
    assert torch.allclose(areas.abs().sum(), torch.tensor(1.0), atol=1e-5)
    assert (areas > 0).all() or (areas < 0).all()
