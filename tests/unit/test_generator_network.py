"""The StyleGAN2 network against a slow one written independently, its gradients, its sizes and what is trained
of it.
"""

import naive_generator
import numpy as np
import pytest
import sheet
import torch
from torch.nn import functional as F

from domain_guidance.generators import (
    GeneratorConfig,
    GeneratorFileError,
    default_selection,
    driven_layers,
    empty_generator,
    infer_config,
    latents,
    mix,
    standard_config,
    tensor_shapes,
    truncate,
)
from domain_guidance.generators.fir import blur, double
from domain_guidance.generators.modulation import modulated_conv, to_rgb
from domain_guidance.generators.names import from_rosinality, without_filters
from domain_guidance.generators.stylegan2 import Generator

PUBLISHED = [  # resolution, base of the widths, mapping layers, parameters
    (256, 16384, 8, 24_767_458),
    (512, 32768, 2, 28_700_647),
    (1024, 32768, 8, 30_370_060),
]


def shapes_of(weights):
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def network(weights, conv_clamp=None):
    generator = empty_generator(infer_config(shapes_of(weights), conv_clamp=conv_clamp))
    generator.load_state_dict(weights, assign=True)
    return generator.requires_grad_(False)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(scope="module")
def weights():
    return sheet.nvidia_weights(dtype=torch.float64)


@pytest.fixture(scope="module")
def generator(weights):
    return network(weights)


# --- the forward pass ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clamp", [None, 0.7])
@pytest.mark.parametrize(("psi", "cutoff"), [(1.0, None), (0.6, None), (0.3, 3)])
def test_images_equal_those_of_the_slow_generator(weights, psi, cutoff, clamp):
    z = random(3, sheet.Z)
    images = network(weights, clamp)(z, psi=psi, cutoff=cutoff)
    expected = naive_generator.images(weights, z, psi=psi, cutoff=cutoff, clamp=clamp)
    assert images.shape == (3, 3, sheet.RESOLUTION, sheet.RESOLUTION) and expected.std() > 0.1
    torch.testing.assert_close(images, expected, rtol=1e-9, atol=1e-9)


def test_images_with_labels_equal_those_of_the_slow_generator():
    weights = sheet.nvidia_weights(classes=sheet.CLASSES, dtype=torch.float64)
    z, labels = random(2, sheet.Z), torch.eye(sheet.CLASSES, dtype=torch.float64)[[1, 3]]
    images = network(weights)(z, labels)
    torch.testing.assert_close(images, naive_generator.images(weights, z, labels), rtol=1e-9, atol=1e-9)
    other = network(weights)(z, labels.flip(0))
    assert not torch.allclose(images, other, atol=1e-3)


@pytest.mark.parametrize("resolution", [8, 16])
@pytest.mark.parametrize("depth", [1, 2])
def test_other_sizes_and_depths_are_inferred_and_drawn(resolution, depth):
    weights = sheet.nvidia_weights(resolution=resolution, depth=depth, dtype=torch.float64)
    z = random(2, sheet.Z)
    torch.testing.assert_close(network(weights)(z), naive_generator.images(weights, z), rtol=1e-9, atol=1e-9)


def test_styles_equal_those_of_the_slow_mapping(weights, generator):
    z = random(4, sheet.Z)
    torch.testing.assert_close(generator.mapping(z), naive_generator.styles(weights, z)[:, 0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pixels", [2, 6])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("up", [False, True])
def test_a_modulated_convolution_equals_one_with_weights_made_for_each_image(up, count, pixels):
    x, weight, styles = random(count, 5, pixels, pixels), random(4, 5, 3, 3, seed=1), random(count, 5, seed=2)
    y = modulated_conv(x, weight, styles, gain=1.5, up=up)
    for n in range(count):
        made = weight * styles[n][None, :, None, None]
        made = made / (made**2).sum((1, 2, 3), keepdim=True).add(1e-8).sqrt()
        if up:
            expected = naive_generator.filtered(naive_generator.stamped(x[n], made), (1, 1))
        else:
            expected = naive_generator.correlated(naive_generator.padded(x[n], (1, 1)), made)
        torch.testing.assert_close(y[n], 1.5 * expected, rtol=1e-10, atol=1e-10)


def test_the_image_layer_equals_one_with_weights_made_for_each_image():
    x, weight, styles, bias = random(2, 5, 4, 4), random(3, 5, 1, 1, seed=1), random(2, 5, seed=2), random(3, seed=3)
    for n, image in enumerate(to_rgb(x, weight, styles, bias)):
        made = weight * styles[n][None, :, None, None] / 5**0.5
        torch.testing.assert_close(
            image, naive_generator.correlated(x[n], made) + bias[:, None, None], rtol=1e-10, atol=1e-10
        )


def test_both_filters_equal_their_taps_summed_one_by_one():
    x = random(2, 3, 7, 7)
    for n in range(2):
        torch.testing.assert_close(blur(x)[n], naive_generator.filtered(x[n], (1, 1)), rtol=1e-12, atol=1e-12)
        expected = naive_generator.filtered(naive_generator.stuffed(x[n]), (2, 1))
        torch.testing.assert_close(double(x)[n], expected, rtol=1e-12, atol=1e-12)


def test_an_image_does_not_depend_on_its_neighbours_in_the_batch(generator):
    z = random(3, sheet.Z)
    together = generator(z)
    for n in range(3):
        torch.testing.assert_close(together[n], generator(z[n : n + 1])[0], rtol=1e-10, atol=1e-10)


# --- styles ----------------------------------------------------------------------------------------------------------


def test_the_synthesis_takes_one_style_or_one_for_each_layer(generator):
    w = generator.mapping(random(2, sheet.Z))
    ws = w[:, None].repeat(1, generator.config.style_count, 1)
    assert torch.equal(generator.synthesis(w), generator.synthesis(ws))
    assert torch.equal(generator.synthesis(w), generator(random(2, sheet.Z)))


@pytest.mark.parametrize("shape", [(1, 7, sheet.W), (1, 9, sheet.W), (2, sheet.W + 1), (1, 8, 1)])
def test_styles_of_another_generator_are_refused(generator, shape):
    with pytest.raises(ValueError, match=r"expected \[N, 8, 12\]"):
        generator.synthesis(torch.zeros(shape, dtype=torch.float64))


def test_truncation_at_its_ends(generator):
    ws, mean = random(2, 8, sheet.W), generator.mapping.w_avg
    assert truncate(ws, mean, 1.0) is ws
    assert torch.equal(truncate(ws, mean, 0.0), mean.expand_as(ws))
    half = truncate(ws, mean, 0.5, cutoff=3)
    assert torch.equal(half[:, 3:], ws[:, 3:])
    torch.testing.assert_close(half[:, :3], (ws[:, :3] + mean) / 2)
    assert torch.equal(truncate(ws, mean, 0.5, cutoff=0), ws)


def test_mixing_takes_coarse_styles_from_one_and_fine_ones_from_the_other(generator):
    one, other = random(1, 8, sheet.W), random(1, 8, sheet.W, seed=1)
    mixed = mix(one, other, 3)
    assert torch.equal(mixed[:, :3], one[:, :3]) and torch.equal(mixed[:, 3:], other[:, 3:])
    assert torch.equal(mix(one, other, 8), one) and torch.equal(mix(one, other, 0), other)


def test_every_style_drives_the_layers_that_the_map_names_and_no_other(generator):
    seen = {}

    def watch(name):
        def hook(module, arguments):
            seen[name] = arguments[0][0]

        return generator.get_submodule(name).affine.register_forward_pre_hook(hook)

    layers = [layer for driven in driven_layers(generator.config) for layer in driven]
    assert (
        len(layers)
        == len(set(layers))
        == len([name for name in generator.state_dict() if name.endswith("affine.weight")])
    )
    hooks = [watch(layer) for layer in layers]
    ws = torch.arange(8, dtype=torch.float64)[None, :, None].expand(1, 8, sheet.W)
    generator.synthesis(ws)
    for hook in hooks:
        hook.remove()
    for style, driven in enumerate(driven_layers(generator.config)):
        assert {layer for layer in layers if seen[layer][0] == style} == set(driven)


def test_seeds_draw_the_numbers_of_nvidias_tools_and_each_alone():
    z = latents([85, 2**32 - 1, 2**63 + 5], 512)
    assert np.array_equal(z[0].numpy(), np.random.RandomState(85).randn(1, 512)[0].astype(np.float32))
    assert torch.equal(z[2:], latents([2**63 + 5], 512)) and not torch.equal(z[2], latents([2**63 + 6], 512)[0])


# --- noise -----------------------------------------------------------------------------------------------------------


def test_without_noise_the_picture_is_the_slow_generators_without_noise(weights, generator):
    z = random(2, sheet.Z)
    expected = naive_generator.images(weights, z, noise=False)
    torch.testing.assert_close(generator(z, noise="none"), expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(generator(z), expected, atol=1e-3)


def test_random_noise_comes_from_the_generator_given_and_is_fresh_for_each_image(generator):
    w = generator.mapping(random(1, sheet.Z)).expand(2, -1)
    first, again, other = (
        generator.synthesis(w, noise="random", generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3)
    assert not torch.allclose(first[0], first[1], atol=1e-3)


def test_random_noise_has_the_distribution_of_the_constant_one(weights):
    """One layer alone lets its noise through unchanged: y + b stays positive."""
    from domain_guidance.generators.stylegan2 import StyledConv

    layer = StyledConv(2, 1, 64, GeneratorConfig(8, (2, 2), w_dim=3))
    with torch.no_grad():
        layer.noise_strength.fill_(0.5), layer.bias.fill_(100.0)
    y = layer(torch.zeros(4, 2, 64, 64), torch.zeros(4, 3), "random", torch.Generator().manual_seed(0))
    noise = (y.detach() / 2**0.5 - 100) / 0.5
    assert abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.05


# --- precision, gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_draws_the_same_picture_nearly(dtype):
    weights = sheet.nvidia_weights()
    z = random(2, sheet.Z, dtype=torch.float32)
    exact, half = (network(weights)(z, dtype=kind) for kind in (None, dtype))
    assert half.dtype == torch.float32
    assert float((half - exact).norm() / exact.norm()) < 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size", [1e-6, 1e-4, 1, 1e4])
def test_half_precision_demodulates_weights_of_any_size_as_float32_does(size, count):
    x, weight, styles = random(count, 5, 6, 6), size * random(4, 5, 3, 3, seed=1), random(count, 5, seed=2)
    gain = max(1.0, 1e-4 / size)  # lifts what epsilon makes small into what half precision can hold
    exact, half = (
        modulated_conv(x.to(dtype), weight, styles, gain=gain).double() for dtype in (torch.float64, torch.float16)
    )
    assert float((half - exact).norm() / exact.norm()) < 4 * torch.finfo(torch.float16).eps


def test_half_precision_does_not_overflow_on_weights_that_would(weights):
    large = {
        name: tensor.float() * (1e4 if name.endswith(("conv0.weight", "conv1.weight")) else 1)
        for name, tensor in weights.items()
    }
    large = {name: tensor * (300 if "conv" in name and ".affine." in name else 1) for name, tensor in large.items()}
    z = random(1, sheet.Z, dtype=torch.float32)
    exact, half = (network(large)(z, dtype=kind) for kind in (None, torch.float16))
    assert float((half - exact).norm() / exact.norm()) < 0.01


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_of_every_trained_tensor_and_of_the_styles(count):
    weights = sheet.nvidia_weights(resolution=8, dtype=torch.float64)
    generator = network(weights)
    ws = random(count, 4, sheet.W).requires_grad_()
    names = [name for name, _ in generator.synthesis.named_parameters()]
    values = [tensor.clone().requires_grad_() for tensor in generator.synthesis.parameters()]

    def image(ws, *values):
        drawn = torch.func.functional_call(generator.synthesis, dict(zip(names, values)), (ws,))
        return F.avg_pool2d(drawn, 2)

    assert torch.autograd.gradcheck(image, (ws, *values), fast_mode=True)


def test_second_gradients_exist_as_a_training_of_its_own_needs_them():
    generator = network(sheet.nvidia_weights(resolution=8, dtype=torch.float64))
    ws = random(1, 4, sheet.W).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda ws: F.avg_pool2d(generator.synthesis(ws), 4), (ws,), fast_mode=True)


def test_the_mappings_gradients():
    generator = network(sheet.nvidia_weights(classes=2, dtype=torch.float64))
    z, labels = random(2, sheet.Z).requires_grad_(), random(2, 2).requires_grad_()
    assert torch.autograd.gradcheck(generator.mapping, (z, labels))


# --- sizes and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("resolution", "base", "depth", "count"), PUBLISHED)
def test_the_published_sizes_have_the_published_numbers_of_parameters(resolution, base, depth, count):
    config = standard_config(resolution, base=base, mapping_layers=depth)
    generator = empty_generator(config)
    assert sum(parameter.numel() for parameter in generator.parameters()) == count
    assert shapes_of(generator.state_dict()) == tensor_shapes(config)
    assert infer_config(tensor_shapes(config)) == config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GeneratorConfig(8, (4, 0), z_dim=2, w_dim=2), "conv0.weight' has shape"),
        (GeneratorConfig(8, (4, 4), z_dim=0, w_dim=2), "mapping.fc0.weight' has shape"),
        (GeneratorConfig(8, (4, 4), z_dim=8193, w_dim=2), "wider than 8,192"),
        (GeneratorConfig(8, (4, 4), c_dim=8193), "wider than 8,192"),
    ],
)
def test_sizes_that_no_generator_has_are_refused(config, message):
    with pytest.raises(GeneratorFileError, match=message):
        infer_config(tensor_shapes(config))


def test_a_clamp_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        standard_config(32, conv_clamp=0)


def test_the_default_selection_is_that_of_the_paper():
    config = standard_config(1024)
    parameters = dict(empty_generator(config).named_parameters())
    chosen = default_selection(config)
    assert len(chosen) == len(set(chosen)) == 48 and sum(parameters[name].numel() for name in chosen) == 24_058_896
    assert not [
        name
        for name in chosen
        if name.endswith("bias") or "torgb" in name or ".b4." in name or name.startswith("mapping")
    ]


def test_a_selection_by_styles_takes_the_layers_that_they_drive():
    config = standard_config(32)
    assert default_selection(config, [3]) == tuple(
        f"synthesis.b16.conv0.{part}" for part in ("weight", "affine.weight", "noise_strength")
    )
    assert default_selection(config, [0, 7]) == ()
    assert sorted(default_selection(config, range(8))) == sorted(default_selection(config))


def test_a_fresh_generator_draws_pictures_of_a_usual_contrast():
    torch.manual_seed(0)
    generator = Generator(standard_config(32, widest=32, z_dim=32, w_dim=32))
    images = generator(torch.randn(8, 32))
    assert 0.1 < images.std() < 10
    assert generator.synthesis.b8.conv0.noise_strength == 0 and torch.equal(
        generator.synthesis.b8.conv0.affine.bias, torch.ones(32)
    )


@pytest.mark.parametrize("resolution", [8, 32])
def test_rosinalitys_layout_is_read_as_nvidias(resolution):
    weights = sheet.nvidia_weights(resolution=resolution)
    state, mean = sheet.rosinality(weights)
    back = from_rosinality(without_filters({**state, "latent_avg": mean}))
    assert back.keys() == weights.keys() and all(torch.equal(back[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (8, 4, 4), (1, 8, 4)])
def test_a_tensor_of_another_shape_than_rosinalitys_is_refused(shape):
    with pytest.raises(GeneratorFileError):
        weights = from_rosinality({**sheet.rosinality(sheet.nvidia_weights())[0], "input.input": torch.ones(shape)})
        infer_config(shapes_of(weights), optional={"mapping.w_avg"})
