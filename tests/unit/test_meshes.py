"""Meshes and their views against closed forms and against slow code written independently."""

import math

import pytest
import torch
from analytic_meshes import box, colour, sphere, together, torn, torus

from domain_guidance.meshes import (
    ARRANGEMENTS,
    MeshError,
    Surface,
    Views,
    arrange,
    correspond,
    depth_pictures,
    draw_views,
    normal_pictures,
    paint,
    rasterise,
)

SMALL = {
    "sphere": lambda: sphere(16, 32),
    "box": box,
    "torus": lambda: torus(16, 32),
    "two parts": lambda: together(sphere(12, 24, (-0.7, 0, 0), 0.6), sphere(12, 24, (0.9, 0.2, 0), 0.5)),
}
SHAPES = {
    "sphere": sphere,
    "box": box,
    "torus": torus,
    "two parts": lambda: together(sphere(centre=(-0.7, 0, 0), radius=0.6), sphere(centre=(0.9, 0.2, 0), radius=0.5)),
    "torn": lambda: torn(sphere()),
}
ANGLE = math.radians(40)


def seen_from(surface, arrangement="ring, top and bottom", count=6, size=384):
    return arrange(surface, arrangement, count=count, field_of_view=ANGLE, height=size, width=size)


def photographs(surface, views):
    """What the views show of the closed-form colour, [V, H, W, 3]."""
    drawn = draw_views(surface, views)
    places = torch.stack([fragments.interpolate(surface.vertices, surface.faces) for fragments in drawn])
    covered = torch.stack([fragments.covered for fragments in drawn])
    return torch.where(covered[..., None], colour(places), 0.0), covered


def decibels(one, other):
    return -10 * math.log10(float((one - other).double().square().mean()))


def rays(views, number, pixels):
    """Origins and directions of the rays through pixels [P, 2] (x, y), from the definition of a pinhole camera."""
    right, up, forward = views.axes[number].double()
    half = math.tan(views.field_of_view / 2)
    x = ((pixels[:, 0] + 0.5) / views.width * 2 - 1) * half * views.width / views.height
    y = (1 - (pixels[:, 1] + 0.5) / views.height * 2) * half
    return views.eyes[number].double(), x[:, None] * right + y[:, None] * up + forward


def hits(origin, directions, surface):
    """Distances along rays [P] to every triangle [M], infinite where missed (Möller, Trumbore 1997); in double."""
    first, second, third = surface.corners.double().unbind(1)
    one, two = second - first, third - first
    across = torch.linalg.cross(directions[:, None].expand(-1, len(one), -1), two.expand(len(directions), -1, -1))
    scale = (one * across).sum(-1)
    to = (origin - first).expand(len(directions), -1, -1)
    u = (to * across).sum(-1) / scale
    over = torch.linalg.cross(to, one.expand(len(directions), -1, -1))
    v = (directions[:, None] * over).sum(-1) / scale
    distance = (two * over).sum(-1) / scale
    inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 1e-6)
    return torch.where(inside, distance, torch.inf)


# --- views ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96), (96, 48)])
def test_every_camera_sees_the_whole_of_the_mesh(arrangement, height, width):
    surface = torus()
    views = arrange(surface, arrangement, count=5, field_of_view=ANGLE, height=height, width=width)
    places, depth = views.project(surface.vertices)
    assert (depth > 0).all() and (places.abs() <= 1).all()


def test_the_axes_of_every_camera_are_a_right_handed_frame_that_keeps_up_upright():
    views = seen_from(sphere(), count=7)
    assert torch.allclose(views.axes @ views.axes.transpose(1, 2), torch.eye(3).expand(9, 3, 3), atol=1e-6)
    right, up, forward = views.axes.unbind(1)
    assert torch.allclose(torch.linalg.cross(right, up), -forward, atol=1e-6)
    assert (up[:7, 1] > 0.99).all()


def test_the_first_camera_stands_in_front_and_the_second_of_four_to_the_right():
    views = seen_from(sphere(), "ring", 4)
    assert torch.allclose(views.eyes[0] / views.eyes[0].norm(), torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)
    assert torch.allclose(views.eyes[1] / views.eyes[1].norm(), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)


def test_a_point_to_the_right_and_above_lies_to_the_right_and_above_in_the_front_view():
    views = seen_from(sphere(), "ring", 4)
    places, _ = views.project(torch.tensor([[0.3, 0.2, 0.0]]))
    assert places[0, 0, 0] > 0 > places[0, 0, 1]  # pictures count rows from above


# --- rasteriser ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("whole", [True, False])
def test_the_nearest_triangle_is_the_one_that_a_ray_meets_first(name, whole):
    surface = SMALL[name]() if whole else torn(SMALL[name]())
    views = seen_from(surface, count=3, size=64)
    drawn = draw_views(surface, views)
    pixels = torch.randint(0, 64, (300, 2), generator=torch.Generator().manual_seed(1))
    for number in (0, 1, 3):
        origin, directions = rays(views, number, pixels.double())
        distances = hits(origin, directions, surface)
        nearest, face = distances.min(1)
        ours = drawn[number].face[pixels[:, 1], pixels[:, 0]]
        depth = drawn[number].depth[pixels[:, 1], pixels[:, 0]].double()
        assert (depth.isfinite() == nearest.isfinite()).float().mean() > 0.99  # edges through a pixel's centre
        both = depth.isfinite() & nearest.isfinite()
        assert both.sum() > 50
        assert torch.allclose(depth[both], nearest[both], rtol=1e-4)  # directions have length 1 along the axis
        assert (ours[both] == face[both]).float().mean() > 0.98  # and as near as that, two share the point


def test_interpolation_is_linear_in_space_and_not_in_the_picture():
    vertices = torch.tensor([[-1.0, -1.0, 3.0], [1.0, -1.0, -3.0], [0.0, 1.0, 0.0]])
    surface = Surface(vertices, torch.tensor([[0, 1, 2]]))
    views = seen_from(surface, "ring", 1, size=96)
    fragments = draw_views(surface, views)[0]
    places, depth = views.project(fragments.interpolate(vertices, surface.faces)[fragments.covered])
    rows, columns = fragments.covered.nonzero().unbind(1)
    centres = torch.stack(((columns + 0.5) / 48 - 1, (rows + 0.5) / 48 - 1), 1)
    assert torch.allclose(places[0], centres, atol=1e-5)
    assert torch.allclose(depth[0], fragments.depth[fragments.covered], rtol=1e-5)


def test_two_triangles_that_share_an_edge_leave_no_gap_and_overlap_nowhere():
    corners = torch.tensor([[-0.9, -0.8], [0.7, -0.9], [0.9, 0.85], [-0.75, 0.8]])
    flat = rasterise(corners, torch.ones(4), torch.tensor([[0, 1, 2], [0, 2, 3]]), 97, 61)
    one = rasterise(corners, torch.ones(4), torch.tensor([[0, 1, 2]]), 97, 61).covered
    two = rasterise(corners, torch.ones(4), torch.tensor([[0, 2, 3]]), 97, 61).covered
    assert torch.equal(flat.covered, one | two)
    assert (one & two).sum() < 97  # the pixels whose centres lie on the diagonal


def test_what_lies_behind_the_camera_is_not_drawn():
    vertices = torch.tensor([[-1.0, -1.0, 9.0], [1.0, -1.0, 9.0], [0.0, 1.0, 9.0]])
    views = Views(torch.tensor([[0.0, 0.0, 5.0]]), torch.zeros(3), ANGLE, 32, 32)
    assert not draw_views(Surface(vertices, torch.tensor([[0, 1, 2]])), views)[0].covered.any()


def test_the_order_of_the_triangles_changes_no_pixel():
    surface = torus(24, 48)
    mixed = torch.randperm(len(surface.faces), generator=torch.Generator().manual_seed(3))
    views = seen_from(surface, count=3, size=80)
    other = Surface(surface.vertices, surface.faces[mixed], surface.uvs)
    for one, two in zip(draw_views(surface, views), draw_views(other, views), strict=True):
        assert torch.equal(one.covered, two.covered)
        assert torch.allclose(one.depth, two.depth, rtol=1e-6)  # on a shared edge, of either triangle


# --- pictures ------------------------------------------------------------------------------------------------------


def test_depth_is_white_where_the_mesh_is_nearest_and_black_on_the_background():
    surface = sphere()
    views = seen_from(surface, "ring", 3, size=129)
    depth = depth_pictures(draw_views(surface, views))
    assert depth[:, 64, 64] == pytest.approx(1.0, abs=1e-3)
    assert (depth[:, 0, 0] == 0).all()
    assert depth[depth > 0].min() >= 0.2 - 1e-6


def test_the_normals_of_a_sphere_are_those_of_the_closed_form():
    surface = sphere()
    views = seen_from(surface, count=3, size=96)
    drawn = draw_views(surface, views)
    pictures = normal_pictures(surface, views, drawn)
    for number, fragments in enumerate(drawn):
        covered = fragments.covered
        places = fragments.interpolate(surface.vertices, surface.faces)[covered]
        right, up, forward = (torch.nn.functional.normalize(places, dim=1) @ axis for axis in views.axes[number])
        expected = torch.stack((right, up, -forward), 1) / 2 + 0.5
        assert (pictures[number][covered] - expected).abs().max() < 0.03  # flat triangles at the silhouette
        assert torch.allclose(pictures[number][~covered], torch.tensor([0.5, 0.5, 1.0]))


# --- texture -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_a_texture_seen_by_the_views_and_painted_back_is_the_same_to_40_decibels(name):
    surface = SHAPES[name]()
    views = seen_from(surface)
    images, _ = photographs(surface, views)
    painted = paint(surface, views, images, 256)
    charts = rasterise(surface.uvs * 2 - 1, torch.ones(len(surface.uvs)), surface.faces, 256, 256)
    truth = colour(charts.interpolate(surface.vertices, surface.faces))
    assert painted.seen.sum() > 0.6 * painted.charted.sum()
    assert decibels(painted.image[painted.seen], truth[painted.seen]) >= 40


@pytest.mark.parametrize("name", SMALL)
def test_what_counts_as_unseen_is_what_no_camera_sees_along_a_straight_line(name):
    surface = SMALL[name]()
    views = seen_from(surface, "ring", 2, size=512)
    painted = paint(surface, views, torch.rand(2, 512, 512, 3), 64)
    charts = rasterise(surface.uvs * 2 - 1, torch.ones(len(surface.uvs)), surface.faces, 64, 64)
    points = charts.interpolate(surface.vertices, surface.faces)[charts.covered].double()
    faces = charts.face[charts.covered]
    open_to, doubtful = torch.zeros(len(points), dtype=torch.bool), torch.zeros(len(points), dtype=torch.bool)
    normals = surface.normals.double()[faces]
    for eye in views.eyes.double():
        lines = points - eye
        cosine = (torch.nn.functional.normalize(lines, dim=1) * normals).sum(1).abs()
        blocked = torch.empty(len(points), dtype=torch.bool)
        for part in torch.arange(len(points)).split(512):
            blocked[part] = hits(eye, lines[part], surface).min(1).values < 0.999
        open_to |= ~blocked & (cosine > 0.3)
        doubtful |= ~blocked & (cosine <= 0.3)
    seen = painted.seen[charts.covered]
    sure = ~doubtful & (normals.norm(dim=1) > 0)
    assert (seen[sure] & ~open_to[sure]).sum() == 0
    assert (seen | ~open_to)[sure].float().mean() > 0.97  # the rest: at the edge of what hides it


def test_what_no_view_sees_is_filled_from_what_lies_beside_it_on_the_surface():
    surface = sphere()
    views = seen_from(surface, "ring", 1)
    images, covered = photographs(surface, views)
    painted = paint(surface, views, torch.where(covered[..., None], torch.tensor([0.9, 0.2, 0.1]), images), 128)
    unseen = painted.charted & ~painted.seen
    assert unseen.sum() > 1000
    assert torch.allclose(painted.image[unseen], torch.tensor([0.9, 0.2, 0.1]), atol=0.02)


def test_the_space_between_charts_continues_their_colours():
    surface = box()
    views = seen_from(surface)
    images, covered = photographs(surface, views)
    painted = paint(surface, views, torch.where(covered[..., None], torch.tensor([0.2, 0.7, 0.4]), images), 96)
    assert (~painted.charted).any()
    assert torch.allclose(painted.image, torch.tensor([0.2, 0.7, 0.4]), atol=0.02)


# --- correspondence ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_the_weights_sum_to_one_on_the_mesh_and_to_nothing_beside_it(name):
    surface = SHAPES[name]()
    found = correspond(surface, seen_from(surface, size=48))
    covered = torch.stack([fragments.covered for fragments in draw_views(surface, seen_from(surface, size=48))])
    assert torch.equal(found.covered, covered)
    assert torch.allclose(found.weights.sum(1)[covered], torch.tensor(1.0), atol=1e-5)
    assert (found.weights.sum(1)[~covered] == 0).all()


@pytest.mark.parametrize("name", SHAPES)
def test_views_that_agree_already_are_hardly_changed(name):
    surface = SHAPES[name]()
    views = seen_from(surface, size=128)
    images, covered = photographs(surface, views)
    pictures = images.permute(0, 3, 1, 2)
    averaged = correspond(surface, views).average(pictures).permute(0, 2, 3, 1)
    assert torch.equal(averaged[~covered], images[~covered])
    assert decibels(averaged[covered], images[covered]) >= 40


def test_views_of_noise_agree_after_averaging_and_did_not_before():
    surface = sphere()
    views = seen_from(surface, "ring", 8, size=96)
    noise = torch.randn(8, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    smooth = torch.nn.functional.avg_pool2d(noise, 9, 1, 4) * 9  # finer than a pixel, no two views could agree
    found = correspond(surface, views)
    averaged = found.average(smooth)
    for _ in range(4):  # as at every step of a sampling
        averaged = found.average(averaged)
    before, after = disagreement(found, smooth), disagreement(found, averaged)
    assert after < before / 10


def disagreement(found, pictures):
    """Mean squared difference of every view and its right neighbour, where both see the surface well."""
    total = []
    for number in range(len(pictures)):
        other = (number + 1) % len(pictures)
        weight = found.weights[number]
        both = (weight[number] > 0.05) & (weight[other] > 0.05)
        there = torch.nn.functional.grid_sample(
            pictures[other : other + 1], found.places[number, other : other + 1], align_corners=False
        )[0]
        total.append((there - pictures[number])[:, both].square().mean())
    return torch.stack(total).mean()


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vertices", "faces", "said"),
    [
        (torch.zeros(3, 2), torch.tensor([[0, 1, 2]]), "expected: connect a mesh of triangles"),
        (torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long), "no triangles"),
        (torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]]), "not finite"),
        (torch.zeros(3, 3), torch.tensor([[0, 1, 3]]), "names vertex 3, but there are 3"),
        (torch.zeros(3, 3), torch.tensor([[0, -1, 2]]), "names vertex -1"),
    ],
)
def test_a_mesh_that_cannot_be_used_is_refused_in_a_sentence(vertices, faces, said):
    with pytest.raises(MeshError, match=said):
        Surface(vertices, faces)


def test_a_mesh_without_texture_coordinates_says_which_node_makes_them():
    surface = Surface(sphere().vertices, sphere().faces)
    with pytest.raises(MeshError, match="Unwrap Mesh UVs"):
        paint(surface, seen_from(surface), torch.zeros(8, 8, 8, 3), 32)


def test_as_many_images_as_views_are_asked_for():
    with pytest.raises(MeshError, match="5 images came for 8 views"):
        paint(sphere(), seen_from(sphere()), torch.zeros(5, 8, 8, 3), 32)


def test_a_mesh_in_one_point_is_refused():
    with pytest.raises(MeshError, match="one point"):
        seen_from(Surface(torch.ones(3, 3), torch.tensor([[0, 1, 2]])))


@pytest.mark.parametrize("sharpness", [0.0, 6.0])
def test_views_that_do_not_see_a_point_have_no_say_in_it_at_any_sharpness(sharpness):
    surface, red = sphere(), torch.tensor([1.0, 0.0, 0.0])
    views = seen_from(surface, "ring", 2, size=256)
    images = torch.stack([red.expand(256, 256, 3), (1 - red).expand(256, 256, 3)])
    painted = paint(surface, views, images, 64, sharpness)
    front = painted.seen & (rasterise_chart(surface, 64)[..., 2] > 0.5)
    assert front.any() and torch.allclose(painted.image[front], red)


@pytest.mark.parametrize("sharpness", [24.0, 64.0])
def test_views_of_one_colour_paint_it_however_sharp_the_seams(sharpness):
    surface = sphere()
    views = seen_from(surface, "ring", 3, size=128)  # three, so that much is seen at an angle alone
    painted = paint(surface, views, torch.full((3, 128, 128, 3), 0.8), 64, sharpness)
    assert torch.allclose(painted.image, torch.tensor(0.8), atol=1e-5)
    assert painted.seen.equal(paint(surface, views, torch.full((3, 128, 128, 3), 0.8), 64, 0.0).seen)


class Stopped(Exception):
    pass


def stop_at(call):
    calls = iter(range(call))

    def check():
        if next(calls, None) is None:
            raise Stopped

    return check


def test_painting_and_looking_can_be_stopped_between_their_parts():
    surface = SMALL["sphere"]()
    views, images = seen_from(surface, count=2, size=16), torch.zeros(4, 16, 16, 3)
    counted = []
    paint(surface, views, images, 32, check=lambda: counted.append(1))
    for call in (0, len(views), len(counted) // 2, len(counted) - 1):
        with pytest.raises(Stopped):
            paint(surface, views, images, 32, check=stop_at(call))
    for work in (draw_views, correspond):
        with pytest.raises(Stopped):
            work(surface, views, check=stop_at(len(views) - 1))


TURNS = {
    "quarter turn": [[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]],
    "half turn": [[-1.0, 0, 0], [0, 1, 0], [0, 0, -1]],
    "mirror": [[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_the_moments_of_a_mesh_turn_with_it(turn):
    surface, turn = SHAPES["two parts"](), torch.tensor(turn)  # the bounding box turns with the mesh
    turned = Surface(surface.vertices @ turn.T, surface.faces).moments
    first, second, third = surface.moments.split((3, 9, 27))
    by = turn.double()
    expected = by @ first, by @ second.view(3, 3) @ by.T, torch.einsum("ai,bj,ck,ijk", by, by, by, third.view(3, 3, 3))
    assert torch.allclose(turned, torch.cat([part.flatten() for part in expected]), atol=1e-5)
    assert (turned - surface.moments).norm() > 0.01


def test_the_moments_of_a_mesh_do_not_depend_on_how_it_is_cut_nor_on_its_size():
    surface = SHAPES["two parts"]()
    cut = Surface(surface.vertices[surface.faces].flatten(0, 1), torch.arange(surface.faces.numel()).view(-1, 3))
    assert torch.allclose(cut.moments, surface.moments)
    assert torch.allclose(Surface(surface.vertices * 3, surface.faces).moments, surface.moments, atol=1e-5)


def test_the_moments_of_a_sphere_are_those_of_the_closed_form():
    expected = torch.cat([torch.zeros(3), torch.eye(3).flatten() / 3, torch.zeros(27)]).double()
    assert torch.allclose(sphere(radius=2.0).moments, expected, atol=1e-3)


def rasterise_chart(surface, size):
    charts = rasterise(surface.uvs * 2 - 1, torch.ones(len(surface.uvs)), surface.faces, size, size)
    return charts.interpolate(surface.vertices, surface.faces)


def test_images_of_other_proportions_than_the_views_are_refused():
    with pytest.raises(MeshError, match="20 x 10 pixels, but the views are 384 x 384"):
        paint(sphere(), seen_from(sphere()), torch.zeros(8, 10, 20, 3), 32)
