"""Blending generators: the ends are the generators themselves, what lies between is between, and strangers are told."""

from dataclasses import replace

import pytest
import sheet
import torch

from domain_guidance.generators import (
    GeneratorCard,
    GeneratorFile,
    GeneratorFileError,
    Origin,
    build_generator,
    infer_config,
    latents,
    read_generator_file,
    write_generator_file,
)
from domain_guidance.generators.blend import blend, block_amounts
from domain_guidance.generators.relatedness import RELATED, cosine, mapping_weights, relatedness

BLOCKS = (4, 8, 16, 32)


def file_of(weights, origin=None, training=(), **sizes):
    config = infer_config({name: tuple(tensor.shape) for name, tensor in weights.items()}, **sizes)
    return GeneratorFile(GeneratorCard(config, origin, dict(training)), weights)


@pytest.fixture(scope="module")
def first():
    return file_of(
        sheet.nvidia_weights(seed=0), Origin("faces.pkl", "1" * 64, "NVIDIA PyTorch pickle"), {"prompt": "a sketch"}
    )


@pytest.fixture(scope="module")
def second(first):
    """The first one, trained further."""
    other = sheet.nvidia_weights(seed=1)
    weights = {name: torch.lerp(tensor, other[name], 0.3) for name, tensor in first.weights.items()}
    return file_of(weights, first.card.origin, {"prompt": "a painting"})


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_ends_are_the_generators_themselves_bit_for_bit(first, second):
    assert same(blend(first, second, [0.0] * 4, 0.0).weights, first.weights)
    assert same(blend(first, second, [1.0] * 4, 1.0).weights, second.weights)


def test_a_blend_draws_what_its_end_draws(first, second):
    z = latents([3], sheet.Z)
    assert torch.equal(build_generator(blend(first, second, [1.0] * 4, 1.0))(z), build_generator(second)(z))


def test_a_swapped_block_is_the_seconds_and_every_other_the_firsts(first, second):
    blended = blend(first, second, block_amounts(first.card.config, fine_from=16)).weights
    for name, tensor in blended.items():
        fine = name.startswith(("synthesis.b16.", "synthesis.b32."))
        assert tensor is (second if fine else first).weights[name], name


def test_a_plain_mean_of_weights_is_one_in_every_block(first, second):
    amounts = block_amounts(first.card.config, fine_from=16, coarse=0.25, fine=0.25)
    assert amounts == (0.25,) * 4
    blended = blend(first, second, amounts, 0.25).weights
    for name, tensor in blended.items():
        if not name.endswith("noise_const"):
            torch.testing.assert_close(tensor, 0.75 * first.weights[name] + 0.25 * second.weights[name])


def test_the_mapping_has_a_share_of_its_own(first, second):
    blended = blend(first, second, [0.0] * 4, 1.0).weights
    for name, tensor in blended.items():
        assert tensor is (second if name.startswith("mapping") else first).weights[name], name


def test_noise_maps_are_the_nearer_generators_and_no_mean_of_both(first, second):
    blended = blend(first, second, [0.4, 0.6, 0.4, 0.6]).weights
    maps = {name: tensor for name, tensor in blended.items() if name.endswith("noise_const")}
    assert len(maps) == 7
    for name, tensor in maps.items():
        assert tensor is (second if ".b8." in name or ".b32." in name else first).weights[name]


@pytest.mark.parametrize("fine_from", BLOCKS)
def test_a_step_lies_just_below_the_first_fine_block_and_a_narrow_passage_comes_close_to_it(first, fine_from):
    config = first.card.config
    step = block_amounts(config, fine_from=fine_from)
    assert step == tuple(float(pixels >= fine_from) for pixels in BLOCKS)
    assert block_amounts(config, fine_from=fine_from, width=0.01) == pytest.approx(step, abs=1e-9)
    assert block_amounts(config, fine_from=fine_from, width=1e-300) == step


def test_amounts_at_the_ends_of_a_passage_are_exactly_those_given(first):
    for coarse, fine in ((0.9, 0.3), (0.3, 0.9), (0.1, 1.0), (1.0, 0.1)):
        assert block_amounts(first.card.config, fine_from=16, coarse=coarse, fine=fine) == (coarse, coarse, fine, fine)
    assert block_amounts(first.card.config, fine_from=16, coarse=1.0, fine=1.0, width=0.7) == (1.0,) * 4


def test_a_wide_passage_is_logistic_and_symmetric_around_its_middle(first):
    amounts = block_amounts(first.card.config, fine_from=16, width=0.5)
    assert amounts == pytest.approx(
        [1 / (1 + 2.718281828459045 ** (-octaves / 0.5)) for octaves in (-1.5, -0.5, 0.5, 1.5)]
    )
    assert amounts[1] + amounts[2] == pytest.approx(1)
    halved = block_amounts(first.card.config, fine_from=16, width=0.5, coarse=0.5, fine=0.75)
    assert halved == pytest.approx([0.5 + 0.25 * amount for amount in amounts])


def test_fine_blocks_that_a_small_generator_has_not_leave_it_as_it_is(first):
    assert block_amounts(first.card.config, fine_from=1024) == (0.0,) * 4


def test_narrow_and_wide_weights_blend_and_the_ends_keep_their_precision(first, second):
    half = GeneratorFile(second.card, {name: tensor.half() for name, tensor in second.weights.items()})
    blended = blend(first, half, [0.0, 0.5, 0.5, 1.0]).weights
    assert blended["synthesis.b4.conv1.weight"].dtype == torch.float32
    assert blended["synthesis.b8.conv1.weight"].dtype == torch.float32
    assert blended["synthesis.b32.conv1.weight"].dtype == torch.float16
    assert blend(half, first, [0.5] * 4).weights["synthesis.b4.conv1.weight"].dtype == torch.float32


def test_the_card_tells_both_histories_and_is_written_and_read(first, second, tmp_path):
    blended = blend(first, second, [0.0, 0.0, 0.5, 1.0], 0.25)
    write_generator_file(tmp_path / "blend.safetensors", blended.weights, blended.card)
    card = read_generator_file(tmp_path / "blend.safetensors").card
    record = card.training["blend"]
    assert card.origin == first.card.origin
    assert [record[part]["training"]["prompt"] for part in ("first", "second")] == ["a sketch", "a painting"]
    assert record["first"]["origin"]["name"] == "faces.pkl"
    assert (record["amounts"], record["mapping"]) == ([0.0, 0.0, 0.5, 1.0], 0.25)
    stranger = GeneratorFile(replace(second.card, origin=None), second.weights)
    assert blend(first, stranger, [0.5] * 4).card.origin is None


def test_the_bound_of_activations_is_the_wider_of_both(first, second):
    def with_clamp(file, clamp):
        return GeneratorFile(replace(file.card, config=replace(file.card.config, conv_clamp=clamp)), file.weights)

    for one, other, expected in ((256, 128, 256), (256, None, None), (None, 256, None), (None, None, None)):
        blended = blend(with_clamp(first, one), with_clamp(second, other), [0.5] * 4)
        assert blended.card.config.conv_clamp == expected


OTHERS = {
    "resolution": lambda: sheet.nvidia_weights(resolution=16),
    "mapping layers": lambda: sheet.nvidia_weights(depth=2),
    "c dim": lambda: sheet.nvidia_weights(classes=5),
}


@pytest.mark.parametrize("what", OTHERS)
def test_generators_of_other_sizes_are_refused_in_one_sentence(first, what):
    with pytest.raises(GeneratorFileError) as caught:
        blend(first, file_of(OTHERS[what]()), [0.5] * 4)
    message = str(caught.value)
    assert what in message and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize(
    "amounts", [[0.5] * 3, [0.5] * 5, [0.0, 0.0, 0.0, 1.5], [-0.1, 0, 0, 0], [float("nan"), 0, 0, 0]]
)
def test_amounts_that_do_not_fit_the_blocks_are_refused(first, second, amounts):
    with pytest.raises(GeneratorFileError, match="expected 4 numbers from 0 to 1"):
        blend(first, second, amounts)


def test_relatives_are_told_from_strangers_by_their_weights(first, second):
    stranger = file_of(sheet.nvidia_weights(seed=2))
    assert relatedness(first, first) == pytest.approx(1)
    assert relatedness(first, second) > 0.5
    louder = GeneratorFile(first.card, {name: 3 * tensor for name, tensor in first.weights.items()})
    assert relatedness(first, louder) == relatedness(louder, first) == pytest.approx(1)
    assert abs(relatedness(first, stranger)) < RELATED
    mappings = [mapping_weights(file) for file in (first, second, stranger)]
    assert mappings[0] and cosine(mappings[0], mappings[0]) == pytest.approx(1)
    assert cosine(mappings[0], mappings[1]) > RELATED > abs(cosine(mappings[0], mappings[2]))
    assert cosine(mappings[0], {"mapping.fc0.weight": torch.ones(2, 2)}) == 0
