"""What is asked of a generator: seeds, mixing, ways between latents.

Each picture is its own, whatever is drawn beside it.
"""

from math import acos, sin

import numpy as np
import pytest
import sheet
import torch

from domain_guidance.generators import empty_generator, infer_config, latents
from domain_guidance.generators.drawing import Drawing, check_styles
from domain_guidance.generators.interpolation import spherical, walk


def network(**sizes):
    weights = sheet.nvidia_weights(**sizes)
    generator = empty_generator(infer_config({name: tuple(tensor.shape) for name, tensor in weights.items()}))
    generator.load_state_dict(weights, assign=True)
    return generator.requires_grad_(False)


@pytest.fixture(scope="module")
def generator():
    return network()


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_a_seed_has_the_styles_of_nvidias_latent_for_it(generator):
    z = torch.from_numpy(np.random.RandomState(85).randn(1, sheet.Z)).float()
    drawn = Drawing(85, truncation=0.7).styles(generator)
    mean = generator.mapping.w_avg
    torch.testing.assert_close(drawn, (mean + 0.7 * (generator.mapping(z) - mean))[:, None].expand(-1, 8, -1))


def test_a_seed_has_the_same_styles_bit_for_bit_however_many_are_asked_for(generator):
    many = Drawing(3, 5, 0.7).styles(generator)
    assert many.shape == (5, 8, sheet.W)
    for number in range(5):
        assert torch.equal(many[number], Drawing(3 + number, 1, 0.7).styles(generator)[0])


def test_after_the_largest_seed_comes_the_smallest(generator):
    both = Drawing(2**64 - 1, 2).styles(generator)
    assert torch.equal(both[0, 0], generator.mapping(latents([2**64 - 1], sheet.Z))[0])
    assert torch.equal(both[1], Drawing(0).styles(generator)[0])


def test_truncation_moves_only_the_styles_below_the_cutoff(generator):
    full, cut = Drawing(1).styles(generator), Drawing(1, truncation=0.0, cutoff=3).styles(generator)
    assert torch.equal(cut[:, 3:], full[:, 3:])
    torch.testing.assert_close(cut[0, :3], generator.mapping.w_avg.expand(3, -1))


@pytest.mark.parametrize("truncation", [0.7, 1.0])
def test_a_negative_cutoff_is_refused_and_zero_truncates_nothing(generator, truncation):
    with pytest.raises(ValueError, match="^cutoff is -1: give the number of styles to truncate, or leave it out"):
        Drawing(1, truncation=truncation, cutoff=-1).styles(generator)
    assert torch.equal(Drawing(1, truncation=truncation, cutoff=0).styles(generator), Drawing(1).styles(generator))


def test_mixing_takes_the_fine_styles_of_the_other_seed_truncated_as_well(generator):
    mixed = Drawing(1, 2, 0.5, mix_from=5, mix_seed=9).styles(generator)
    own, other = Drawing(1, 2, 0.5).styles(generator), Drawing(9, 1, 0.5).styles(generator)
    assert torch.equal(mixed[:, :5], own[:, :5])
    assert torch.equal(mixed[:, 5:], other.expand(2, -1, -1)[:, 5:])


@pytest.mark.parametrize("mix_from", [-1, 0, 8, 17])
def test_mixing_that_would_leave_everything_or_nothing_is_refused(generator, mix_from):
    with pytest.raises(ValueError, match="reads 8, counted from 0: give 1 to 7, or no mixing."):
        Drawing(1, mix_from=mix_from).styles(generator)


def test_a_class_changes_the_styles_and_an_unknown_one_is_refused(generator):
    labelled = network(classes=sheet.CLASSES)
    styles = [Drawing(1, label=label).styles(labelled) for label in (None, 0, 4)]
    assert not torch.equal(styles[1], styles[2]) and not torch.equal(styles[0], styles[1])
    for network_, label, known in ((labelled, 5, "classes 0 to 4"), (generator, 0, "no classes")):
        with pytest.raises(ValueError, match=known):
            Drawing(1, label=label).styles(network_)


def test_random_noise_is_of_a_pictures_own_seed_and_still_on_a_way():
    assert [Drawing(5, 3).noise_seed(number) for number in range(3)] == [5, 6, 7]
    assert {Drawing(5, 3, way="w").noise_seed(number) for number in range(3)} == {5}
    torch.Generator().manual_seed(Drawing(2**64 - 1, 2).noise_seed(1))


# --- ways ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["z", "w"])
def test_a_way_begins_at_its_seed_and_ends_at_the_next_bit_for_bit(generator, way):
    frames = Drawing(3, 6, 0.7, way=way).styles(generator)
    ends = Drawing(3, 2, 0.7).styles(generator)
    assert torch.equal(frames[0], ends[0]) and torch.equal(frames[-1], ends[1])
    gaps = (frames[1:] - frames[:-1]).flatten(1).norm(dim=1)
    assert gaps.min() > 0 and gaps.max() < 0.8 * (frames[-1] - frames[0]).norm()


def test_a_straight_way_has_equal_steps(generator):
    frames = Drawing(3, 5, way="w").styles(generator)
    ends = Drawing(3, 2).styles(generator)
    torch.testing.assert_close(frames[2], ends.mean(0))


def test_a_loop_comes_back_and_no_frame_is_there_twice(generator):
    frames = Drawing(3, 8, way="w", loop=True).styles(generator)
    ends = Drawing(3, 2).styles(generator)
    assert torch.equal(frames[0], ends[0]) and torch.equal(frames[4], ends[1])
    step = (frames[1] - frames[0]).norm()
    torch.testing.assert_close((frames[0] - frames[-1]).norm(), step)
    assert len({tuple(frame.flatten().tolist()) for frame in frames[:5]}) == 5


def test_a_way_passes_all_of_its_stops(generator):
    frames = Drawing(3, 7, way="z", stops=4).styles(generator)
    assert torch.equal(frames[::2], Drawing(3, 4).styles(generator))


@pytest.mark.parametrize("loop", [False, True])
def test_one_frame_is_the_first_point(loop):
    points = torch.tensor([[1.0], [2.0]])
    assert walk(points, 1, torch.lerp, loop=loop).tolist() == [[1.0]]


def test_an_arc_keeps_its_angle_speed_and_its_ends():
    a, b = latents([1, 2], 512)
    angle = acos(float(torch.nn.functional.cosine_similarity(a, b, dim=0)))
    assert torch.equal(spherical(a, b, 0.0), a) and torch.equal(spherical(a, b, 1.0), b)
    expected = (sin(0.75 * angle) * a + sin(0.25 * angle) * b) / sin(angle)
    torch.testing.assert_close(spherical(a, b, 0.25), expected)
    unit = spherical(a / a.norm(), b / b.norm(), 0.5)
    torch.testing.assert_close(unit.norm(), torch.tensor(1.0))


def test_an_arc_between_equal_latents_is_the_latent():
    a = latents([1], 512)[0]
    torch.testing.assert_close(spherical(a, a, 0.3), a)
    assert spherical(a, -a, 0.5).isfinite().all()


# --- given latents ---------------------------------------------------------------------------------------------------


def test_given_styles_are_drawn_as_they_are_and_can_be_mixed(generator):
    given = torch.randn(3, 8, sheet.W, generator=torch.Generator().manual_seed(0))
    assert Drawing(1, 7, truncation=0.2).styles(generator, given) is given
    mixed = Drawing(1, mix_from=2, mix_seed=4).styles(generator, given)
    assert torch.equal(mixed[:, :2], given[:, :2])
    assert torch.equal(mixed[:, 2:], Drawing(4).styles(generator).expand(3, -1, -1)[:, 2:])


def test_a_way_leads_through_all_given_styles(generator):
    given = torch.randn(3, 8, sheet.W, generator=torch.Generator().manual_seed(0))
    frames = Drawing(1, 5, way="w").styles(generator, given)
    assert torch.equal(frames[::2], given)


@pytest.mark.parametrize(("way", "count"), [("z", 3), ("w", 1)])
def test_a_way_that_given_styles_have_not_is_refused(generator, way, count):
    with pytest.raises(ValueError, match="interpolated linearly in w: choose that and give at least two"):
        Drawing(1, 5, way=way).styles(generator, torch.zeros(count, 8, sheet.W))


def test_styles_of_another_generator_are_refused_in_one_sentence(generator):
    for shape in ((1, 18, sheet.W), (1, 8, 512)):
        with pytest.raises(ValueError) as caught:
            Drawing(1, mix_from=2).styles(generator, torch.zeros(shape))
        message = str(caught.value)
        assert message.endswith(".") and "reads 8 of 12" in message and "\n" not in message
    check_styles(torch.zeros(1, 8, sheet.W), generator)
