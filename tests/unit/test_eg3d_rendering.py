"""Cameras, rays and the rendering of EG3D's volumes, against closed forms."""

from math import pi

import eg3d_sheet as sheet
import pytest
import torch
from eg3d_surfaces import surfaces
from torch.nn import functional as F

from domain_guidance.generators.eg3d import (
    Rendering,
    camera_parameters,
    cameras,
    depth_picture,
    ellipse,
    grid,
    look_at,
    normals,
    orbit,
    random_poses,
)
from domain_guidance.generators.eg3d.camera import split
from domain_guidance.generators.eg3d.marching import along_ray, density, march, spread, weights, where_it_matters
from domain_guidance.generators.eg3d.normals import surface_points
from domain_guidance.generators.eg3d.poses import Poses
from domain_guidance.generators.eg3d.rays import rays
from domain_guidance.generators.eg3d.renderer import render
from domain_guidance.generators.eg3d.triplane import plane_features

POSES = torch.tensor([[0.0, 0.0], [0.35, 0.2], [-0.7, -0.5]], dtype=torch.float64)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def raw_of(density):
    """The raw value whose density this is."""
    return torch.log(torch.expm1(torch.as_tensor(density, dtype=torch.float64))) + 1


def solid(inside, sigma=1e4, colour=0.25):
    """A field of one density where `inside` holds, and of none elsewhere."""

    def field(points):
        raw = torch.where(
            inside(points), raw_of(sigma) if sigma < 500 else torch.tensor(sigma + 1.0, dtype=torch.float64), -1e6
        )
        return raw, torch.full((*points.shape[:2], 2), colour, dtype=torch.float64)

    return field


# --- cameras and rays ------------------------------------------------------------------------------------------------


def test_a_camera_is_upright_on_its_sphere_and_looks_at_the_pivot():
    pivot = torch.tensor([0.0, 0.0, 0.2], dtype=torch.float64)
    matrices, intrinsics = split(cameras(POSES, radius=2.7, pivot=(0, 0, 0.2)))
    for matrix in matrices:
        right, down, forward, place = matrix[:3].unbind(1)
        axes = torch.stack((right, down, forward))
        torch.testing.assert_close(axes @ axes.T, torch.eye(3, dtype=torch.float64))
        assert torch.linalg.det(axes) > 0  # not mirrored
        torch.testing.assert_close(place.norm(), torch.tensor(2.7, dtype=torch.float64))
        torch.testing.assert_close(F.normalize(pivot - place, dim=0), forward)
        assert right[1].abs() < 1e-12 and down[1] < 0
        assert torch.equal(matrix[3], torch.tensor([0, 0, 0, 1.0], dtype=torch.float64))
    assert torch.equal(
        intrinsics[0], torch.tensor([[4.2647, 0, 0.5], [0, 4.2647, 0.5], [0, 0, 1]], dtype=torch.float64)
    )


def test_yaw_moves_the_camera_to_x_and_pitch_makes_it_look_up():
    front, right, below = (
        split(cameras(torch.tensor([pose])))[0][0, :3] for pose in ([0.0, 0.0], [0.3, 0.0], [0.0, 0.3])
    )
    torch.testing.assert_close(front[:, 3], torch.tensor([0, 0, 2.7]))
    torch.testing.assert_close(front[:, :3], torch.diag(torch.tensor([1.0, -1.0, -1.0])))
    assert right[0, 3] > 0.5 and right[1, 3] == 0
    assert below[1, 3] < -0.5 and below[1, 2] > 0


@pytest.mark.parametrize("pitch", [pi / 2, -1.6, float("nan")])
def test_a_camera_straight_above_is_refused(pitch):
    with pytest.raises(ValueError, match="radians"):
        cameras(torch.tensor([[0.0, pitch]]))


@pytest.mark.parametrize("shape", [(16,), (2, 16), (1, 5, 5)])
def test_cameras_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \[N, 25\]"):
        rays(torch.zeros(shape), 4)


@pytest.mark.parametrize("resolution", [1, 3, 8])
def test_what_a_ray_passes_is_projected_back_to_its_pixel(resolution):
    parameters = cameras(POSES)
    parameters[:, 16:] = torch.tensor([3.0, 0.1, 0.4, 0, 5.0, 0.6, 0, 0, 1])  # skewed, and not square
    origins, directions = rays(parameters, resolution)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones_like(directions[..., 0]))
    matrices, intrinsics = split(parameters)
    points = origins + 2.5 * directions
    seen = torch.linalg.inv(matrices) @ torch.cat((points, torch.ones_like(points[..., :1])), dim=-1).transpose(1, 2)
    projected = intrinsics @ seen[:, :3]
    assert (seen[:, 2] > 0).all()
    u, v = projected[:, 0] / projected[:, 2], projected[:, 1] / projected[:, 2]
    for pixel in range(resolution**2):
        row, column = divmod(pixel, resolution)
        torch.testing.assert_close(u[:, pixel], torch.full_like(u[:, pixel], (column + 0.5) / resolution))
        torch.testing.assert_close(v[:, pixel], torch.full_like(v[:, pixel], (row + 0.5) / resolution))


def test_the_upper_row_looks_up_and_the_left_column_to_the_left_as_seen():
    directions = rays(cameras(torch.zeros(1, 2)), 2)[1][0]
    assert (directions[:2, 1] > 0).all() and (directions[2:, 1] < 0).all()
    assert (directions[::2, 0] < 0).all() and (directions[1::2, 0] > 0).all()


def test_poses_on_the_ellipse_of_the_adaptation():
    poses = torch.cat((orbit(7), random_poses(50, torch.Generator().manual_seed(0)), ellipse(torch.tensor([0.25]))))
    torch.testing.assert_close((poses[:, 0] / 0.35) ** 2 + ((poses[:, 1] + 0.05) / 0.25) ** 2, torch.ones(len(poses)))
    assert len(orbit(7).unique(dim=0)) == 7 and torch.equal(orbit(1), ellipse(torch.zeros(1)))
    steps = (orbit(8, yaw=1.0, pitch=1.0, tilt=0.0) - orbit(8, yaw=1.0, pitch=1.0, tilt=0.0).roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(8))
    assert poses[7:-1, 0].std() > 0.15


def test_a_grid_goes_row_by_row_from_above_left():
    poses = grid(2, 3, yaw=0.4, pitch=0.1)
    torch.testing.assert_close(poses, torch.tensor([[y, p] for p in (-0.1, 0.1) for y in (-0.4, 0.0, 0.4)]))
    assert torch.equal(grid(1, 1), torch.zeros(1, 2))
    assert split(cameras(poses))[0][0, 1, 3] > 0


# --- cameras as a user arranges them ---------------------------------------------------------------------------------


def test_arranged_cameras_are_those_of_the_library_in_degrees_about_their_middle():
    torch.testing.assert_close(Poses("one", 90, -45).tensor(), torch.tensor([[pi / 2, -pi / 4]]))
    middle = torch.tensor([[pi / 18, -pi / 36]])
    around = Poses("orbit", 10, -5, 20, 30, count=7).tensor()
    torch.testing.assert_close(around, middle + orbit(7, yaw=pi / 9, pitch=pi / 6, tilt=0.0))
    rows = Poses("grid", 10, -5, 20, 30, columns=4, rows=2).tensor()
    torch.testing.assert_close(rows, middle + grid(2, 4, yaw=pi / 9, pitch=pi / 6))


@pytest.mark.parametrize(
    "settings", [{"pitch": 89}, {"arrangement": "orbit", "pitch": -60, "pitch_range": 30}, {"pitch": float("nan")}]
)
def test_an_arrangement_above_the_pole_is_refused(settings):
    with pytest.raises(ValueError, match="lower pitch"):
        Poses(**settings)


def test_a_range_that_an_arrangement_does_not_use_is_not_counted():
    assert len(Poses("grid", pitch=60, pitch_range=45, rows=1, columns=3).tensor()) == 3
    assert len(Poses("one", pitch=60, pitch_range=45).tensor()) == 1


# --- the integral ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.1, 2.0, 30.0])
def test_a_constant_density_lets_through_what_beer_and_lambert_say(sigma):
    depths = torch.sort(random(5, 20).abs(), dim=-1).values
    seen = march(depths, raw_of(sigma).expand(5, 20), torch.ones(5, 20, 1, dtype=torch.float64))
    torch.testing.assert_close(
        1 - seen.opacity, torch.exp(-sigma * (depths[:, -1] - depths[:, 0])), rtol=1e-7, atol=1e-8
    )
    torch.testing.assert_close(seen.colour[:, 0], seen.opacity)


@pytest.mark.parametrize(("samples", "importance"), [(1024, 0), (512, 512)])
def test_a_sphere_of_constant_density_lets_through_what_its_chords_say(samples, importance):
    sigma, radius = 1.7, 0.35
    origins, directions = rays(cameras(POSES, pivot=(0, 0, 0)), 9)
    rendering = Rendering(samples=samples, importance_samples=importance)
    seen = render(solid(lambda p: p.norm(dim=-1) < radius, sigma), origins, directions, rendering)
    nearest = torch.linalg.cross(origins, directions).norm(dim=-1)
    chord = 2 * (radius**2 - nearest**2).clamp_min(0).sqrt()
    assert (chord == 0).any() and chord.max() > 0.69
    step = 2 * 1.05 / (samples + importance)  # the two borders of the sphere lie anywhere in an interval each
    assert (seen.opacity - (1 - torch.exp(-sigma * chord))).abs().max() < 1.5 * sigma * step
    torch.testing.assert_close(seen.colour, 0.25 * seen.opacity[..., None].expand(-1, -1, 2), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("importance", "tolerance"), [(0, 1.5 * 1.05 / 47), (48, 1.5 * 1.05 / 47 / 8)])
def test_the_depth_of_an_opaque_plane_is_where_the_ray_meets_it(importance, tolerance):
    """The interval that meets it counts as empty, so the first one behind it is seen, from its middle."""
    origins, directions = rays(cameras(POSES), 8)
    seen = render(solid(lambda p: p[..., 2] < 0.1), origins, directions, Rendering(importance_samples=importance))
    expected = (0.1 - origins[..., 2]) / directions[..., 2]
    met = (expected > 2.3) & (expected < 3.25)
    assert met.float().mean() > 0.8
    assert (seen.depth - expected)[met].abs().max() < tolerance
    torch.testing.assert_close(seen.opacity[met], torch.ones_like(seen.opacity[met]))


def test_contributions_are_positive_and_sum_to_at_most_one():
    depths = torch.sort(random(200, 30).abs(), dim=-1).values
    share = weights(depths, 10 * random(200, 30, seed=1))
    assert (
        share.shape == (200, 29)
        and (share >= 0).all()
        and (share.sum(-1) <= 1 + 1e-9).all()
        and share.sum(-1).max() > 0.99
    )
    assert density(torch.tensor(0.0)) < density(torch.tensor(1.0)) == torch.log(torch.tensor(2.0))


def test_a_ray_that_meets_nothing_ends_at_its_end():
    depths = torch.linspace(2, 3, 10, dtype=torch.float64, requires_grad=True)
    seen = march(depths, torch.full((10,), -1e6, dtype=torch.float64), torch.ones(10, 3, dtype=torch.float64))
    assert seen.opacity == 0 and seen.colour.abs().sum() == 0 and seen.depth == 3
    seen.depth.backward()
    assert depths.grad.isfinite().all()


def test_gradients_of_the_integral():
    depths, raw, colours = torch.sort(random(2, 6).abs(), dim=-1).values, random(2, 6, seed=1), random(2, 6, 3, seed=2)
    arguments = [x.requires_grad_() for x in (depths, raw, colours)]
    assert torch.autograd.gradcheck(
        lambda *x: (lambda seen: (seen.colour, seen.depth, seen.opacity))(march(*x)), arguments
    )


def test_gradients_of_the_planes():
    planes, points = random(1, 3, 2, 4, 4).requires_grad_(), (0.4 * random(1, 7, 3, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: plane_features(*x, 1.0), (planes, points))


# --- samples ---------------------------------------------------------------------------------------------------------


def test_coarse_samples_begin_at_evenly_spaced_places_from_near_to_far():
    jitter = torch.rand(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = torch.linspace(2.25, 3.3, 8, dtype=torch.float64)
    torch.testing.assert_close(along_ray(2.25, 3.3, jitter), places + jitter * (3.3 - 2.25) / 7)
    torch.testing.assert_close(along_ray(2.25, 3.3, 0 * jitter), places.expand(50, 8))


def test_the_renderer_looks_where_the_coarse_samples_lie():
    asked = []

    def field(points):
        asked.append(points.norm(dim=-1))
        return points[..., 0], points

    origin, direction = torch.zeros(1, 1, 3), torch.tensor([[[0.0, 0.0, 1.0]]])
    render(field, origin, direction, Rendering(samples=5, importance_samples=0, near=2.0, far=4.0))
    torch.testing.assert_close(asked[0][0], torch.tensor([2.25, 2.75, 3.25, 3.75, 4.25]))


def test_samples_lie_one_in_each_part_of_the_ray():
    jitter = torch.rand(50, 8, generator=torch.Generator().manual_seed(0))
    depths = spread(2.0, 4.0, jitter)
    assert torch.equal(((depths - 2) / 0.25).floor(), torch.arange(8.0).expand(50, 8))
    torch.testing.assert_close(spread(2.0, 4.0, torch.full((1, 4), 0.5)), torch.tensor([[2.25, 2.75, 3.25, 3.75]]))


def test_finer_samples_are_distributed_as_the_widened_contributions():
    depths, share = torch.sort(random(9).abs(), dim=-1).values, random(8, seed=1).abs()
    share = share / share.sum()
    finer = where_it_matters(
        depths[None],
        share[None],
        torch.rand(1, 200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    )[0]
    before, after = torch.cat((torch.zeros(1), share[:-1])), torch.cat((share[1:], torch.zeros(1)))
    wide = (torch.maximum(before, share) + torch.maximum(share, after)) / 2 + 0.01
    found = torch.histogram(finer.float(), depths.float()).hist / len(finer)
    assert (found - (wide / wide.sum()).float()).abs().max() < 0.002
    assert (finer[2:] >= finer[:-2]).all()  # one in each part


def test_finer_samples_gather_where_the_surface_is():
    depths = torch.linspace(0, 1, 11)
    share = torch.zeros(10)
    share[4] = 1.0
    finer = where_it_matters(depths[None], share[None], torch.full((1, 100), 0.5))[0]
    assert ((finer > 0.3) & (finer < 0.6)).float().mean() > 0.9 and finer.min() > 0 and finer.max() < 1


@pytest.mark.parametrize("jitter", [0.0, 1 - 2**-24])
def test_finer_samples_at_the_ends_of_their_parts_stay_on_the_ray(jitter):
    depths, share = (
        torch.linspace(2, 3, 11).expand(4, 11),
        torch.rand(4, 10, generator=torch.Generator().manual_seed(0)),
    )
    finer = where_it_matters(depths, share, torch.full((4, 6), jitter))
    assert finer.min() >= 2 and finer.max() <= 3
    assert (finer[:, 0] == 2).all() if jitter == 0 else ((3 - finer[:, -1]) < 1e-3).all()


def test_where_finer_samples_lie_has_no_gradient():
    """As in the papers: the colour changes along the ray, so a gradient of the places would show in it."""
    origins, directions = rays(cameras(POSES[:1]), 3)
    rendering = Rendering(samples=6, importance_samples=5)

    def field_at(scale):
        return lambda points: (scale * (2 - 8 * points.norm(dim=-1)), points.sin())

    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(render(field_at(scale), origins, directions, rendering).colour.sum(), scale)

    def sampled(depths):
        raw, colours = field_at(scale)((origins[:, :, None] + depths[..., None] * directions[:, :, None]).flatten(1, 2))
        return raw.unflatten(1, depths.shape[1:]), colours.unflatten(1, depths.shape[1:])

    with torch.no_grad():
        coarse = along_ray(rendering.near, rendering.far, torch.full((1, 9, 6), 0.5, dtype=torch.float64))
        finer = where_it_matters(
            coarse, weights(coarse, sampled(coarse)[0]), torch.full((1, 9, 5), 0.5, dtype=torch.float64)
        )
        depths = torch.cat((coarse, finer), dim=-1).sort(dim=-1).values
    (expected,) = torch.autograd.grad(march(depths, *sampled(depths)).colour.sum(), scale)
    torch.testing.assert_close(found, expected)


# --- bounded memory --------------------------------------------------------------------------------------------------


def field_of(planes, most):
    def field(points):
        most.append(points.shape[1])
        features = plane_features(planes, points, 1.0)
        return 8 * features.sum(-1), features.sigmoid()

    return field


@pytest.mark.parametrize("drawn", [False, True])
def test_what_is_seen_and_its_gradient_do_not_depend_on_how_many_rays_are_rendered_at_once(drawn):
    origins, directions = (x.float() for x in rays(cameras(POSES[:2]), 8))
    results = []
    for at_once in (1000, 30, 1):
        planes, most = random(2, 3, 4, 8, 8).float().requires_grad_(), []
        generator = torch.Generator().manual_seed(0) if drawn else None
        rendering = Rendering(samples=12, importance_samples=12)
        seen = render(field_of(planes, most), origins, directions, rendering, generator=generator, rays_at_once=at_once)
        (seen.colour.square().sum() + seen.depth.sum() + seen.opacity.sum()).backward()
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0) if drawn else None
            again = render(
                field_of(planes, []), origins, directions, rendering, generator=generator, rays_at_once=at_once
            )
        torch.testing.assert_close(again.colour, seen.colour, rtol=0, atol=1e-5)
        assert max(most) <= 12 * max(1, at_once // 2)
        results.append((seen.colour, seen.depth, seen.opacity, planes.grad / planes.grad.abs().max()))
    for other in results[1:]:
        for one, two in zip(results[0], other):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


def test_what_a_gradient_keeps_does_not_grow_with_the_samples_of_a_ray():
    origins, directions = rays(cameras(POSES[:1]), 8)

    def kept(samples):
        seen = []
        planes = random(1, 3, 4, 8, 8).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: (seen.append(x.untyped_storage().nbytes()), x)[1], lambda x: x
        ):
            render(
                field_of(planes, []),
                origins,
                directions,
                Rendering(samples=samples, importance_samples=samples),
                rays_at_once=16,
            )
        return sum(seen)

    assert kept(64) == kept(8)


# --- one geometry for all views --------------------------------------------------------------------------------------


def reprojection_errors(generator, ws, other_ws):
    """How far from the surface that the second camera sees lie the points that the first one sees, in its middle."""
    parameters = generator.cameras(torch.tensor([[-0.06, 0.0], [0.06, 0.05]]))
    rendering = Rendering(resolution=64, near=1.8, far=3.6)  # no ray begins inside of the box
    one = generator.view(generator.planes(ws), ws, parameters[:1], rendering=rendering)
    two = generator.view(generator.planes(other_ws), other_ws, parameters[1:], rendering=rendering)
    points = surface_points(one.depth, parameters[:1])[0].flatten(1)
    matrix, intrinsics = (x[0] for x in split(parameters[1:]))
    seen = torch.linalg.inv(matrix)[:3] @ torch.cat((points, torch.ones_like(points[:1])))
    places = (intrinsics @ seen)[:2] / seen[2]
    there = F.grid_sample(two.depth, (2 * places - 1).T[None, None], mode="bilinear", align_corners=False)[0, 0, 0]
    within = ((places > 0) & (places < 1)).all(0) & (one.opacity.flatten() > 0.99)
    assert within.sum() > 1000
    return (there - seen.norm(dim=0))[within].abs()


def test_two_views_of_one_latent_share_their_geometry():
    generator, ws = surfaces(seed=1)
    other = generator.styles(random(1, sheet.Z, seed=7))
    same, mixed = reprojection_errors(generator, ws, ws), reprojection_errors(generator, ws, other)
    assert same.median() < 0.002 and same.quantile(0.8) < 0.005  # the rest is hidden from one of them
    assert mixed.median() > 0.05


# --- normals and depth as pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("normal", [[0.0, 0.0, 1.0], [0.6, 0.0, 0.8], [0.0, 0.6, 0.8], [-0.3, 0.4, 0.866]])
def test_normals_of_a_plane(normal):
    normal = F.normalize(torch.tensor(normal, dtype=torch.float64), dim=0)
    parameters = cameras(POSES)
    origins, directions = rays(parameters, 6)
    depth = (-(origins @ normal) / (directions @ normal)).unflatten(1, (1, 6, 6))
    found = normals(depth, parameters)
    for n, matrix in enumerate(split(parameters)[0]):
        right, down, forward = matrix[:3, :3].unbind(1)
        expected = torch.stack((normal @ right, -(normal @ down), -(normal @ forward)))
        torch.testing.assert_close(found[n], expected[:, None, None].expand(3, 6, 6))
    assert found[0, 2].min() > 0


def test_points_lie_at_their_depth():
    parameters = cameras(POSES)
    points = surface_points(torch.full((3, 1, 4, 4), 2.5, dtype=torch.float64), parameters)
    away = points - split(parameters)[0][:, :3, 3][:, :, None, None]
    torch.testing.assert_close(away.norm(dim=1), torch.full((3, 4, 4), 2.5, dtype=torch.float64))


def test_near_is_white_in_a_picture_of_depth():
    picture = depth_picture(torch.tensor([2.0, 2.25, 2.775, 3.3, 4.0]), 2.25, 3.3)
    torch.testing.assert_close(picture, torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0]))


def test_a_camera_of_ones_own_looks_where_it_is_told():
    place, target = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    directions = rays(camera_parameters(look_at(place, target), focal=1.0), 1)[1]
    torch.testing.assert_close(directions[0], F.normalize(target - place, dim=1))
