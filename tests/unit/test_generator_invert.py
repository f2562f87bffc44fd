"""A generator's own picture is found again, the same one each time, and what cannot be drawn is come close to."""

from math import cos, pi

import pytest
import sheet
import torch
from torch.nn import functional as F

from domain_guidance.generators import empty_generator, infer_config, latents
from domain_guidance.generators.invert import Inversion, fitted, invert, picture_distance, ramp

SHORT = Inversion(steps=40, learning_rate=0.1, candidates=8)


@pytest.fixture(scope="module")
def generator():
    weights = sheet.nvidia_weights(resolution=16)
    generator = empty_generator(infer_config({name: tuple(tensor.shape) for name, tensor in weights.items()}))
    generator.load_state_dict(weights, assign=True)
    generator.requires_grad_(False)
    z = torch.randn(4096, sheet.Z, generator=torch.Generator().manual_seed(0))
    generator.mapping.w_avg.copy_(generator.mapping(z).mean(0))
    return generator


@pytest.fixture(scope="module")
def own(generator):
    return generator(latents([7], sheet.Z))


def last(found):
    *_, end = found
    return end


def test_a_picture_of_the_generator_is_found_again(generator, own):
    found = [*invert(generator, own, Inversion(steps=300, learning_rate=0.1))]
    picture = generator.synthesis(found[-1].ws)
    mean = generator.synthesis(generator.mapping.w_avg[None])
    assert (picture - own).square().mean() < 1e-4
    assert (picture - own).square().mean() < 1e-3 * (mean - own).square().mean()
    assert found[-1].distance < 0.05 * picture_distance(mean, own)


def test_the_closest_so_far_is_told_after_every_step_and_never_gets_worse(generator, own):
    found = [*invert(generator, own, SHORT)]
    assert [one.step for one in found] == [*([0] * 9), *range(1, 41)], "the mean, eight candidates, and the steps"
    distances = [one.distance for one in found]
    assert distances == sorted(distances, reverse=True) and distances[-1] < distances[8]
    assert float(picture_distance(generator.synthesis(found[-1].ws), own)) == found[-1].distance


def test_what_the_caller_does_between_the_candidates_keeps_its_graph(generator, own):
    for one in invert(generator, own, Inversion(steps=1, candidates=2)):
        assert torch.is_grad_enabled() and not one.ws.requires_grad


def test_the_same_seed_finds_the_same_styles_and_another_one_others(generator, own):
    first, again = (last(invert(generator, own, SHORT)) for _ in range(2))
    assert torch.equal(first.ws, again.ws) and first.distance == again.distance
    other = last(invert(generator, own, Inversion(steps=40, learning_rate=0.1, candidates=8, seed=1)))
    assert not torch.equal(first.ws, other.ws)


def test_one_style_for_all_layers_stays_one_and_one_for_each_comes_closer(generator):
    """To a picture that no single style draws: two of them, mixed."""
    ws = generator.styles(latents([1, 2], sheet.Z))
    mixed = generator.synthesis(torch.cat((ws[:1, :3], ws[1:, 3:]), dim=1))
    one = last(invert(generator, mixed, Inversion(steps=200, learning_rate=0.1, per_layer=0.0)))
    each = last(invert(generator, mixed, Inversion(steps=200, learning_rate=0.1, per_layer=0.5)))
    assert (one.ws == one.ws[:, :1]).all()
    assert not (each.ws == each.ws[:, :1]).all()
    assert each.distance < 0.5 * one.distance


def test_the_search_begins_at_the_closest_candidate_or_at_the_mean(generator):
    def begun(picture, candidates):
        """After one step whose learning rate is next to nothing."""
        return last(invert(generator, picture, Inversion(steps=1, learning_rate=1e-9, candidates=candidates)))

    mean = generator.synthesis(generator.mapping.w_avg[None])
    assert begun(mean, 64).distance == 0
    random = torch.Generator().manual_seed(0)
    drawn = generator.mapping(torch.randn(10_000, sheet.Z, generator=random)[:64])[20]
    found = begun(generator.synthesis(drawn[None]), 64)
    torch.testing.assert_close(found.ws[0, 0], drawn)
    assert begun(generator.synthesis(drawn[None]), 20).distance > found.distance


def test_the_network_is_bit_identical_afterwards_and_requires_no_gradient(generator, own):
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    last(invert(generator, own, SHORT))
    assert all(torch.equal(before[name], tensor) for name, tensor in generator.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in generator.parameters())


def test_features_are_compared_too(generator, own):
    """With features that see nothing the answer is the same; with such that want the negative picture it is another."""
    plain = last(invert(generator, own, SHORT))
    blind = last(invert(generator, own, SHORT, lambda pictures: torch.ones(1, 4) + 0 * pictures.mean()))
    torch.testing.assert_close(blind.ws, plain.ws, rtol=1e-3, atol=1e-3)
    calls = []

    def features(pictures):
        calls.append(pictures.requires_grad)
        return pictures.flatten(1)

    heavy = Inversion(steps=40, learning_rate=0.1, candidates=8, feature_weight=100.0)
    found = last(invert(generator, own, heavy, features))
    assert calls[0] is False and sum(calls) == 40
    drawn = generator.synthesis(found.ws)
    expected = picture_distance(drawn, own) + 100 * (1 - F.cosine_similarity(drawn.flatten(1), own.flatten(1)).mean())
    assert found.distance == pytest.approx(float(expected), rel=1e-4)


# --- parts -----------------------------------------------------------------------------------------------------------


def test_the_distance_is_zero_for_equal_pictures_and_sees_every_scale():
    a = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert picture_distance(a, a) == 0
    # A shift of all pixels is in no band but the last: its square and its magnitude.
    assert float(picture_distance(a + 0.5, a)) == pytest.approx(0.25 + 0.5)
    for cell in (1, 2, 4, 8):
        board = (
            torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
            .repeat_interleave(cell, 0)
            .repeat_interleave(cell, 1)
            .repeat(16 // cell, 16 // cell)
        )
        assert float(picture_distance(a + 0.1 * board, a)) > 0.01 + 0.05


def test_the_distance_has_a_gradient_where_the_pictures_differ():
    a = torch.zeros(1, 3, 16, 16, requires_grad=True)
    picture_distance(a, torch.ones(1, 3, 16, 16)).backward()
    assert (a.grad < 0).all()


def test_a_picture_is_cut_to_its_central_square_and_resized():
    wide = torch.zeros(1, 3, 8, 16)
    wide[..., 4:12] = 1
    assert torch.equal(fitted(wide, 8), torch.ones(1, 3, 8, 8))
    assert torch.equal(fitted(wide.mT, 8), torch.ones(1, 3, 8, 8))
    assert fitted(torch.rand(2, 3, 50, 40), 16).shape == (2, 3, 16, 16)
    stripes = torch.tensor([-1.0, 1.0, 1.0, -1.0]).repeat(16).expand(1, 3, 64, 64)
    assert fitted(stripes, 16)[..., 1:-1].abs().max() < 0.2  # grey: pixels that are left out would give white
    torch.testing.assert_close(fitted(torch.full((1, 3, 64, 64), 0.3), 16), torch.full((1, 3, 16, 16), 0.3))


def test_the_learning_rate_rises_in_a_twentieth_and_falls_in_the_last_quarter():
    assert ramp(0.0) == 0 and ramp(0.025) == pytest.approx(0.5)
    assert ramp(0.05) == ramp(0.5) == ramp(0.75) == 1
    assert ramp(0.875) == pytest.approx(0.5 - 0.5 * cos(pi / 2)) and ramp(1.0) == 0
