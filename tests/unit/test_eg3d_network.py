"""The EG3D network against a slow one written independently, its sizes, its gradients and what is trained of it."""

from dataclasses import replace

import eg3d_sheet as sheet
import naive_eg3d as naive
import pytest
import torch

from domain_guidance.generators import default_selection, driven_layers, empty_generator
from domain_guidance.generators.eg3d import Eg3dConfig, Rendering, eg3d_shapes, infer_eg3d, orbit, standard_eg3d
from domain_guidance.generators.stylegan2 import StyledConv

RENDERING = Rendering(resolution=sheet.RAYS, samples=sheet.SAMPLES, importance_samples=5)


def network(weights, **told):
    generator = empty_generator(
        infer_eg3d({name: tuple(tensor.shape) for name, tensor in weights.items()}, **{"rendering": RENDERING, **told})
    )
    generator.load_state_dict(weights, assign=True)
    return generator.requires_grad_(False)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def weights():
    return sheet.weights(dtype=torch.float64)


@pytest.fixture(scope="module")
def generator(weights):
    return network(weights)


# --- against the slow generator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_planes_equal_those_of_the_slow_generator(weights, scale):
    generator, z = network(weights, camera_scale=scale), random(2, sheet.Z)
    cameras = generator.cameras(torch.tensor([[0.3, -0.1], [-0.2, 0.2]]))
    planes = generator.planes(generator.styles(z, cameras))
    for n in range(2):
        torch.testing.assert_close(planes[n], naive.planes(weights, z[n], cameras[n], scale), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("finer", "box", "rate"), [(0, 1.0, 1.0), (5, 1.0, 1.0), (5, 0.7, 2.0)])
def test_every_ray_sees_what_the_slow_renderer_sees(weights, finer, box, rate):
    rendering = replace(RENDERING, resolution=4, importance_samples=finer, box=box)
    generator = network(weights, rendering=rendering, decoder_rate=rate)
    ws = generator.styles(random(2, sheet.Z))
    planes, cameras = 3 * generator.planes(ws), generator.cameras(torch.tensor([[0.4, -0.3], [-0.1, 0.2]]))
    view = generator.view(planes, ws, cameras)
    for n in range(2):
        for row, column in ((0, 0), (1, 3), (2, 1), (3, 2)):
            options = {
                "resolution": 4,
                "samples": sheet.SAMPLES,
                "finer": finer,
                "near": 2.25,
                "far": 3.3,
                "box": box,
                "rate": rate,
            }
            colour, depth, opacity = naive.pixel(weights, planes[n], cameras[n], row, column, **options)
            torch.testing.assert_close(view.raw[n, :, row, column], 2 * colour[:3] - 1, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(view.depth[n, 0, row, column], depth, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(view.opacity[n, 0, row, column], opacity, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("doublings", [2, 1])
@pytest.mark.parametrize(("noise", "clamp"), [("none", None), ("const", None), ("none", 0.4)])
def test_the_super_resolution_equals_the_slow_one(weights, noise, clamp, doublings):
    generator = network(weights, superresolution_clamp=clamp, superresolution_doublings=doublings)
    begin = sheet.RESOLUTION // 2**doublings
    features, w = random(2, sheet.FEATURES, begin, begin), random(2, sheet.W, seed=1)
    images = generator.superresolution(features, w, noise=noise)
    for n in range(2):
        torch.testing.assert_close(
            images[n],
            naive.enlarged(weights, features[n], w[n], noise == "const", clamp, doublings),
            rtol=1e-9,
            atol=1e-9,
        )


def test_the_last_style_drives_the_super_resolution_and_the_first_ones_do_not(weights, generator):
    ws = generator.styles(random(1, sheet.Z)).clone()
    planes, camera = generator.planes(ws), generator.cameras()
    view = generator.view(planes, ws, camera)
    raw = view.raw  # of a small image of the super-resolution's own size: nothing is resized
    other = ws.clone()
    other[:, :-1] += 1
    assert torch.equal(generator.view(planes, other, camera).image, view.image)
    other[:, -1] += 1
    changed = generator.view(planes, other, camera)
    assert torch.equal(changed.raw, raw) and not torch.allclose(changed.image, view.image, atol=1e-3)


@pytest.mark.parametrize("resolution", [5, 16])
def test_another_number_of_rays_is_resized_to_what_the_super_resolution_was_made_for(generator, resolution):
    z = random(1, sheet.Z)
    ws = generator.styles(z)
    view = generator.view(
        generator.planes(ws), ws, generator.cameras(), rendering=replace(RENDERING, resolution=resolution)
    )
    assert view.raw.shape == (1, 3, resolution, resolution) and view.image.shape == (
        1,
        3,
        sheet.RESOLUTION,
        sheet.RESOLUTION,
    )
    assert view.depth.shape == view.opacity.shape == (1, 1, resolution, resolution)


def test_resizing_to_a_smaller_size_averages(generator):
    """Without antialiasing a checkerboard of single pixels, three times too large, would be seen as a checkerboard
    again.
    """
    board = (torch.arange(24)[:, None] + torch.arange(24)) % 2 * 2.0 - 1
    features = board.double().expand(1, sheet.FEATURES, 24, 24)
    grey = generator.superresolution(torch.zeros(1, sheet.FEATURES, 8, 8, dtype=torch.float64), random(1, sheet.W))
    torch.testing.assert_close(generator.superresolution(features, random(1, sheet.W)), grey, rtol=0, atol=0.1)


# --- use as a generator of images ------------------------------------------------------------------------------------


def test_without_a_camera_it_is_seen_from_the_front(generator):
    z = random(2, sheet.Z)
    images = generator(z)
    assert images.shape == (2, 3, sheet.RESOLUTION, sheet.RESOLUTION) and images.std() > 0.05
    assert torch.equal(images, generator(z, generator.cameras(torch.zeros(2, 2))))
    ws = generator.styles(z)
    assert torch.equal(generator.synthesis(ws), images)
    w = generator.mapping(z, generator.cameras().expand(2, -1))
    assert torch.equal(generator.synthesis(w), images)
    assert not torch.allclose(images, generator(z, generator.cameras(torch.full((2, 2), 0.3))), atol=1e-3)


def test_what_the_mapping_reads_is_one_camera_for_all_views(generator):
    ws = generator.styles(random(1, sheet.Z))
    views = list(generator.views(ws, generator.cameras(orbit(3))))
    for view, pose in zip(views, orbit(3)):
        torch.testing.assert_close(view.image, generator.synthesis(ws, generator.cameras(pose[None])))


def test_sampling_is_the_same_each_time_and_random_only_when_asked_for(generator):
    z = random(1, sheet.Z)
    assert torch.equal(generator(z), generator(z))
    drawn = [generator(z, sampling=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert (
        torch.equal(drawn[0], drawn[1])
        and not torch.equal(drawn[0], drawn[2])
        and not torch.equal(drawn[0], generator(z))
    )


def test_another_rendering_can_be_asked_for_than_the_files(weights, generator):
    other = replace(RENDERING, resolution=5, samples=4, importance_samples=3, near=2.3, far=3.0, box=0.8, white=True)
    ws = generator.styles(random(1, sheet.Z))
    arguments = generator.planes(ws), ws, generator.cameras()
    assert torch.equal(
        generator.view(*arguments, rendering=other).image, network(weights, rendering=other).view(*arguments).image
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_draws_the_same_picture_nearly(dtype):
    generator, z = network(sheet.weights()), random(2, sheet.Z).float()
    exact, half = (generator(z, dtype=kind) for kind in (None, dtype))
    assert half.dtype == torch.float32 and float((half - exact).norm() / exact.norm()) < 16 * torch.finfo(dtype).eps


def test_white_shines_through_what_is_empty(weights):
    weights = {
        **weights,
        "decoder.net.2.bias": weights["decoder.net.2.bias"] - torch.tensor([1e4, 0, 0, 0, 0], dtype=torch.float64),
    }
    for white in (False, True):
        generator = network(weights, rendering=replace(RENDERING, white=white))
        ws = generator.styles(random(1, sheet.Z))
        view = generator.view(generator.planes(ws), ws, generator.cameras())
        assert torch.equal(view.raw, torch.full_like(view.raw, 1.0 if white else -1.0))
        assert torch.equal(view.opacity, torch.zeros_like(view.opacity)) and view.depth.isfinite().all()


# --- gradients -------------------------------------------------------------------------------------------------------


def test_gradients_of_every_trained_tensor():
    """Where finer samples lie follows from the density without a gradient, so that there are none here."""
    weights = sheet.weights(dtype=torch.float64, planes=8, resolution=16)
    generator = network(weights, rendering=replace(RENDERING, resolution=4, importance_samples=0))
    names = default_selection(generator.config)
    values = [weights[name].clone().requires_grad_() for name in names]
    ws = random(1, generator.config.style_count, sheet.W).requires_grad_()

    def seen(ws, *values):
        return torch.func.functional_call(
            Seen(generator), {f"generator.{name}": value for name, value in zip(names, values)}, (ws,)
        )

    assert torch.autograd.gradcheck(seen, (ws, *values), fast_mode=True)


class Seen(torch.nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def forward(self, ws):
        return torch.nn.functional.avg_pool2d(self.generator.synthesis(ws, rays_at_once=5), 4)


def test_a_training_step_reaches_what_is_trained_and_nothing_else(generator):
    generator = network(sheet.weights(dtype=torch.float64), superresolution_noise="const")
    chosen = set(default_selection(generator.config))
    for name, parameter in generator.named_parameters():
        parameter.requires_grad_(name in chosen)
    generator(random(1, sheet.Z)).square().mean().backward()
    reached = {
        name
        for name, parameter in generator.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert reached == chosen


# --- sizes and selection ---------------------------------------------------------------------------------------------


def test_the_published_size_has_the_published_numbers_of_parameters():
    config = standard_eg3d()
    generator = empty_generator(config)
    parameters = dict(generator.named_parameters())
    assert sum(parameter.numel() for parameter in parameters.values()) == 30_662_136
    chosen = default_selection(config)
    assert len(chosen) == len(set(chosen)) and sum(parameters[name].numel() for name in chosen) == 29_840_529
    assert not [name for name in chosen if name.endswith("bias") or "mapping" in name or name.startswith("decoder")]
    assert (
        {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
        == eg3d_shapes(config)
        == sheet.shapes(**sheet.FULL)
    )
    assert infer_eg3d(sheet.shapes(**sheet.FULL)) == config and config.style_count == 14


def test_a_selection_by_styles_takes_the_layers_that_they_drive_and_the_last_the_super_resolution(weights):
    config = network(weights).config
    parts = ("weight", "affine.weight", "noise_strength")
    expected = [f"backbone.synthesis.b16.conv0.{part}" for part in parts] + [
        f"backbone.synthesis.b8.torgb.{part}" for part in parts[:2]
    ]
    assert sorted(default_selection(config, [3])) == sorted(expected)
    last = default_selection(config, [5])
    assert {name.split(".")[0] for name in last} == {"backbone", "superresolution"} and len(last) == 2 + 2 * (3 + 3 + 2)
    assert {*default_selection(config, range(6)), "backbone.synthesis.b4.const"} == set(default_selection(config))


def test_every_style_drives_the_layers_that_the_map_names(generator):
    seen, ws = {}, torch.arange(6.0, dtype=torch.float64)[None, :, None].expand(1, 6, sheet.W)
    layers = [layer for driven in driven_layers(generator.config) for layer in driven]
    assert (
        len(layers)
        == len(set(layers))
        == len([name for name in generator.state_dict() if name.endswith("affine.weight")])
    )
    hooks = [
        generator.get_submodule(layer).affine.register_forward_pre_hook(
            lambda module, arguments, layer=layer: seen.update({layer: arguments[0][0, 0]})
        )
        for layer in layers
    ]
    generator.synthesis(ws)
    for hook in hooks:
        hook.remove()
    for style, driven in enumerate(driven_layers(generator.config)):
        assert {layer for layer in layers if seen[layer] == style} == set(driven)


def test_a_fresh_generator_draws_pictures_of_a_usual_contrast():
    from domain_guidance.generators import standard_config
    from domain_guidance.generators.eg3d import Eg3dGenerator

    torch.manual_seed(0)
    backbone = standard_config(16, widest=16, z_dim=16, w_dim=16, c_dim=25, mapping_layers=2, channels=24)
    generator = Eg3dGenerator(Eg3dConfig(backbone, 32, (8, 8), rendering=RENDERING, superresolution_noise="const"))
    assert 0.1 < generator(torch.randn(4, 16)).std() < 10
    assert isinstance(generator.superresolution.block0.conv0, StyledConv)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"near": 3.3}, "rising"),
        ({"near": float("nan")}, "rising"),
        ({"far": float("inf")}, "rising"),
        ({"box": 0.0}, "rising"),
        ({"resolution": 0}, "1 to 1024"),
        ({"resolution": 4096}, "1 to 1024"),
        ({"samples": 1}, "2 to 1024"),
        ({"importance_samples": -1}, "0 to 1024"),
        ({"samples": 48.0}, "2 to 1024"),
    ],
)
def test_a_rendering_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Rendering(**settings)
