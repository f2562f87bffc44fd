"""The toy world: handwriting, scenes, prompts, measures, and the promises that the shipped weights keep."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from domain_guidance.domains.domain_file import read_domain_file
from domain_guidance.domains.fingerprint import fingerprint
from domain_guidance.evaluation import scores, split_half
from domain_guidance.generators import build_generator, latents
from domain_guidance.runs import Settings
from domain_guidance.toy_world import checkpoints, digits, prompts, scenes, stages
from domain_guidance.toy_world.__main__ import main
from domain_guidance.toy_world.comparison import Score
from domain_guidance.toy_world.model import build_unet, predict
from domain_guidance.toy_world.sweep import choose


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def brightness(images):
    return images.mean(1, keepdim=True)


# --- handwriting ---------------------------------------------------------------------------------------------------


def test_the_three_splits_share_no_handwriting_and_leave_none_out():
    parts = digits.split_indices()
    assert {name: len(part) for name, part in parts.items()} == digits.SPLIT_SIZES
    assert torch.equal(torch.cat(list(parts.values())).sort().values, torch.arange(1797))


def test_every_split_holds_every_digit_and_ink_in_zero_to_one():
    for split in digits.SPLIT_SIZES:
        part = digits.load_digits(split)
        assert part.labels.bincount(minlength=10).min() > 30
        assert part.ink.min() == 0 and part.ink.max() == 1


def test_an_unknown_split_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="no split 'test'; choose one of base, domain, held_out"):
        digits.load_digits("test")


def test_a_shift_by_whole_pixels_moves_the_ink_by_exactly_those():
    ink, box = digits.load_digits("base").ink[:5], torch.full((5,), 8.0)
    still = digits.place(ink, box, torch.zeros(5, 2))
    moved = digits.place(ink, box, torch.tensor([[2.0, -1.0]]).expand(5, 2))
    torch.testing.assert_close(moved, still.roll((-1, 2), dims=(2, 3)), rtol=0, atol=1e-5)


def test_ink_keeps_to_its_box():
    opacity = digits.place(torch.ones(1, 8, 8), torch.tensor([8.0]), torch.zeros(1, 2))
    assert opacity[0, 0, 4:12, 4:12].min() > 0.9
    assert opacity[0, 0, :2].abs().max() == 0 and opacity[0, 0, :, 14:].abs().max() == 0


# --- scenes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paint", [scenes.paint_open_world, scenes.paint_domain])
def test_a_seed_always_paints_the_same_pictures_in_range(paint):
    hand = digits.load_digits("base")
    one, again, other = paint(hand, 20, seeded(3)), paint(hand, 20, seeded(3)), paint(hand, 20, seeded(4))
    assert torch.equal(one.images, again.images) and torch.equal(one.digit, again.digit)
    assert not torch.equal(one.images, other.images)
    assert one.images.shape == (20, 3, 16, 16) and one.images.abs().max() <= 1


def test_the_open_world_holds_light_on_dark_and_dark_on_light():
    colours = torch.tensor(list(scenes.STROKES.values())), torch.tensor(list(scenes.GROUNDS.values()))
    shown = scenes.paint_open_world(digits.load_digits("base"), 2000, seeded())
    lighter = colours[0][shown.stroke].mean(1) > colours[1][shown.ground].mean(1)
    assert 0.3 < lighter.float().mean() < 0.7


def test_ink_can_always_be_told_from_its_ground():
    shown = scenes.paint_open_world(digits.load_digits("base"), 2000, seeded())
    strokes, grounds = torch.tensor(list(scenes.STROKES.values())), torch.tensor(list(scenes.GROUNDS.values()))
    assert (strokes[shown.stroke] - grounds[shown.ground]).abs().amax(1).min() >= scenes.READABLE
    assert set(shown.stroke.tolist()) == set(range(len(scenes.STROKES)))
    assert set(shown.ground.tolist()) == set(range(len(scenes.GROUNDS)))


def test_the_domain_is_a_white_plate_with_a_blue_rim_and_ink_that_shows_on_it():
    shown = scenes.paint_domain(digits.load_digits("domain"), 400, seeded())
    red, _, blue = shown.images.mean(0)
    assert blue[8, 1] - red[8, 1] > 0.4, "the rim is blue at the left edge"
    inside = shown.images[:, :, 4:12, 3]  # between the rim and most digits
    assert brightness(inside).median() > 0.7
    assert {list(scenes.STROKES)[index] for index in shown.stroke.tolist()} == set(scenes.DOMAIN_STROKES)
    assert (shown.ground == scenes.PLATE).all()


# --- prompts -------------------------------------------------------------------------------------------------------


def test_the_words_of_the_table_are_orthogonal():
    table = prompts.make_table()
    torch.testing.assert_close(table @ table.T, 32 * torch.eye(26), rtol=0, atol=1e-4)


def test_every_prompt_has_an_embedding_of_its_own():
    table = prompts.make_table()
    choices = [(None, *range(10)), (None, *scenes.STROKES), (None, *scenes.GROUNDS)]
    embedded = {
        tuple(prompts.encode_prompt(table, digit, stroke, ground).argmax(-1).flatten().tolist())
        + tuple(prompts.encode_prompt(table, digit, stroke, ground).flatten().tolist())
        for digit in choices[0]
        for stroke in choices[1]
        for ground in choices[2]
    }
    assert len(embedded) == 11 * 7 * 7


def test_a_prompt_in_words_and_in_indices_is_the_same():
    table = prompts.make_table()
    asked = prompts.Prompts(torch.tensor([3, -1]), torch.tensor([0, -1]), torch.tensor([-1, -1]))
    encoded = prompts.encode(asked, table)
    assert torch.equal(encoded[:1], prompts.encode_prompt(table, 3, "red"))
    assert torch.equal(encoded[1:], prompts.encode_prompt(table))
    assert encoded.shape == (2, 4, 32)


def test_each_word_moves_its_own_token_alone():
    table = prompts.make_table()
    empty = prompts.encode_prompt(table)
    for slot, words in enumerate(({"digit": 7}, {"stroke": "blue"}, {"ground": "navy"}), start=1):
        moved = (prompts.encode_prompt(table, **words) != empty).any(-1)[0]
        assert moved.nonzero().flatten().tolist() == [slot]


@pytest.mark.parametrize(
    "words, message",
    [
        ({"digit": 12}, "digit is 12.*0 to 9"),
        ({"stroke": "mauve"}, "stroke is 'mauve'; choose one of red"),
        ({"ground": "red"}, "ground is 'red'; choose one of white"),
    ],
)
def test_a_word_that_the_world_lacks_is_refused_in_one_sentence(words, message):
    with pytest.raises(ValueError, match=message):
        prompts.encode_prompt(prompts.make_table(), **words)


def test_prompts_are_forgotten_whole_and_in_part_as_often_as_said():
    count = 20000
    asked = prompts.Prompts(*(torch.zeros(count, dtype=torch.long) for _ in range(3)))
    left = prompts.forget_slots(asked, 0.1, (0.0, 0.2, 0.5), seeded())
    open_slots = torch.stack([left.digit, left.stroke, left.ground]) == -1
    shares = open_slots.float().mean(1).tolist()
    assert shares == pytest.approx([0.1, 1 - 0.9 * 0.8, 1 - 0.9 * 0.5], abs=0.01)


# --- measures ------------------------------------------------------------------------------------------------------


def test_the_distance_is_the_written_out_unbiased_estimate():
    ours, theirs = torch.randn(4, 3, generator=seeded(1)), torch.randn(5, 3, generator=seeded(2)) + 1

    def kernel(a, b):
        return (sum(x * y for x, y in zip(a.tolist(), b.tolist())) / 3 + 1) ** 3

    def mean(pairs):
        pairs = list(pairs)
        return sum(kernel(a, b) for a, b in pairs) / len(pairs)

    expected = mean((a, b) for i, a in enumerate(ours) for j, b in enumerate(ours) if i != j)
    expected += mean((a, b) for i, a in enumerate(theirs) for j, b in enumerate(theirs) if i != j)
    expected -= 2 * mean((a, b) for a in ours for b in theirs)
    assert scores.kernel_distance(ours, theirs) == pytest.approx(expected, rel=1e-5)


def test_the_distance_of_a_distribution_from_itself_is_zero_on_average_whatever_the_count():
    generator = seeded()
    for count in (10, 50):
        draws = [torch.randn(2, count, 8, generator=generator) for _ in range(400)]
        distances = torch.tensor([scores.kernel_distance(ours, theirs) for ours, theirs in draws])
        assert abs(distances.mean()) < 4 * distances.std() / 20


def test_the_distance_grows_with_the_shift():
    ours = torch.randn(200, 8, generator=seeded())
    near, far = (scores.kernel_distance(ours, ours.flip(1) + shift) for shift in (0.5, 1.0))
    assert 0 < near < far


def test_a_distance_to_a_single_picture_is_refused():
    with pytest.raises(ValueError, match="between 1 and 5 images: give at least 2"):
        scores.kernel_distance(torch.zeros(1, 2), torch.zeros(5, 2))


def test_the_share_counts_right_answers():
    assert scores.share(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 5])) == 0.75


# --- the script that makes the weights -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_world(tmp_path_factory):
    """The whole command at two steps a stage, run twice; the domain is taken away in between.

    Also when files were written.
    """
    folder, times = tmp_path_factory.mktemp("toy"), []
    tiny = Settings(steps=2, checkpoint_every=1)
    made = {name: partial(make, settings=tiny) for name, make in stages.STAGES.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("domain_guidance.toy_world.__main__.STAGES", made)
        for _ in range(2):
            main(["train", "--out", str(folder)])
            times.append({name: (folder / name).stat().st_mtime_ns for name in made})
            (folder / checkpoints.DOMAIN).rename(folder / "domain of the first run")
    (folder / "domain of the first run").rename(folder / checkpoints.DOMAIN)
    return folder, times


def test_one_command_makes_every_file_and_repeats_only_what_is_missing(tiny_world):
    _, (first, second) = tiny_world
    assert {name for name in first if first[name] != second[name]} == {checkpoints.DOMAIN}


def test_training_keeps_what_the_text_path_took_from_the_base(tiny_world):
    folder, _ = tiny_world
    base, _ = checkpoints.read_base(folder)
    domain = read_domain_file(folder / checkpoints.DOMAIN).weights
    kept = ("attn2.to_q.weight", "attn2.to_k.weight", "attn2.to_out.0.weight", "norm2.weight", "norm2.bias")
    names = [name for name in base if name.endswith(kept)]
    assert len(names) == 15
    assert all(torch.equal(domain[checkpoints.HOST_PREFIX + name], base[name]) for name in names)


@torch.no_grad()
def test_the_generator_is_written_with_the_mean_of_its_styles(tiny_world):
    mapping = build_generator(checkpoints.load_generator(tiny_world[0])).mapping
    styles = mapping(latents(range(2000), 64))
    assert (styles.mean(0) - mapping.w_avg).norm() < 0.1 * styles.std(0).norm()


def test_a_net_comes_back_from_its_file_to_the_precision_of_fp16():
    torch.manual_seed(0)
    unet = build_unet()
    restored = checkpoints.unet_of(checkpoints.stored_state(unet)).state_dict()
    for name, tensor in unet.state_dict().items():
        assert torch.equal(restored[name], tensor.half().float())


# --- the shipped weights -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    """2,000 real pictures of each world, with handwriting that no net has seen, as the shipped judge reads them."""
    judge, hand = checkpoints.load_judge(), digits.load_digits("held_out")
    worlds = {
        "open": scenes.paint_open_world(hand, 2000, seeded(8)),
        "domain": scenes.paint_domain(hand, 2000, seeded(9)),
    }
    return {name: (shown, judge.read(shown.images)) for name, shown in worlds.items()}


def test_all_weights_together_stay_under_eleven_megabytes():
    files = list(Path(checkpoints.FOLDER).iterdir())
    assert {file.name for file in files} == set(stages.STAGES)
    assert sum(file.stat().st_size for file in files) < 11_000_000


def test_the_domain_files_name_the_shipped_base_as_theirs():
    base, table = checkpoints.read_base()
    for name, form in ((checkpoints.DOMAIN, "text-free"), (checkpoints.FINE_TUNE, "text-based")):
        file = read_domain_file(Path(checkpoints.FOLDER) / name)
        assert (file.card.form, file.card.prediction) == (form, "epsilon")
        assert file.card.base_fingerprint == fingerprint(base)
        assert torch.equal(file.cross_attn, prompts.encode_prompt(table))


def test_the_side_network_names_the_shipped_base_as_its_own():
    base, table = checkpoints.read_base()
    file = checkpoints.load_side_network()
    assert (file.card.form, file.card.prediction, file.latents.channels) == ("side-network", "epsilon", 3)
    assert file.card.base_fingerprint == fingerprint(base)
    assert torch.equal(file.empty.cross_attn, prompts.encode_prompt(table))
    assert file.card.training["steps"] == stages.SIDE.steps


def test_the_stored_table_is_the_one_that_the_script_makes():
    torch.testing.assert_close(checkpoints.read_base()[1], prompts.make_table(), rtol=0, atol=1e-5)


def test_the_domain_reads_no_prompt_and_the_fine_tune_still_does():
    table = checkpoints.read_base()[1]
    one, other = (prompts.encode_prompt(table, digit, stroke) for digit, stroke in ((1, "red"), (8, "blue")))
    noisy, timestep = torch.randn(1, 3, 16, 16, generator=seeded()), torch.tensor([600])
    domain, fine_tune = checkpoints.load_domain(), checkpoints.load_domain(checkpoints.FINE_TUNE)
    assert torch.equal(predict(domain, noisy, timestep, one), predict(domain, noisy, timestep, other))
    assert not torch.allclose(
        predict(fine_tune, noisy, timestep, one), predict(fine_tune, noisy, timestep, other), atol=1e-2
    )


@pytest.mark.parametrize("world", ["open", "domain"])
def test_the_judge_reads_real_held_out_pictures_of_both_worlds(judged, world):
    shown, reading = judged[world]
    assert scores.share(reading.digit, shown.digit) > 0.93
    assert scores.share(reading.stroke, shown.stroke) > 0.97
    assert scores.share(reading.ground, shown.ground) > 0.97


def test_the_worlds_lie_twenty_times_further_apart_than_their_own_halves(judged):
    features = [reading.features for _, reading in judged.values()]
    apart = scores.kernel_distance(*features)
    halves = [split_half(each, confidence=0.5) for each in features]
    assert apart > 20 * max(halves)


def test_reading_the_checkpoints_imports_neither_diffusers_nor_scikit_learn():
    root = Path(__file__).parents[2]
    code = (
        "import sys, domain_guidance.toy_world.checkpoints as w; w.read_base(); print('diffusers' in "
        "sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# --- choosing weights ----------------------------------------------------------------------------------------------


def scored(*pairs):
    return [({"cfg": float(cfg)}, Score(digit, 1.0, distance, 100)) for cfg, (digit, distance) in enumerate(pairs)]


def test_the_sweep_chooses_most_digits_as_asked_within_the_domain():
    assert choose(scored((0.7, 0.00), (0.9, 0.03), (0.99, 0.2)), limit=0.04) == {"cfg": 1.0}


def test_of_equals_the_sweep_chooses_the_nearer_to_the_domain():
    assert choose(scored((0.9, 0.03), (0.9, 0.01), (0.8, 0.0)), limit=0.04) == {"cfg": 1.0}


def test_a_method_that_never_reaches_the_domain_gets_its_nearest_weights():
    assert choose(scored((0.9, 0.3), (0.7, 0.1), (0.99, 0.2)), limit=0.04) == {"cfg": 1.0}
