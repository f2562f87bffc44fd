"""The emoji world without its weights: what is drawn and shown, how it is asked for, and what its files hold."""

import json
import shutil
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from domain_guidance.diffusers_host.denoiser import DiffusersDenoiser
from domain_guidance.diffusion import sampling
from domain_guidance.diffusion.noise_schedule import scaled_linear
from domain_guidance.domains.fingerprint import fingerprint
from domain_guidance.emoji_world import __main__ as commands
from domain_guidance.emoji_world import (
    checkpoints,
    domains,
    drawing,
    drawings,
    evaluation,
    first_look,
    forms,
    patch_code,
    prompts,
    sheet,
    stages,
    variations,
    words,
)
from domain_guidance.emoji_world import judge as judging
from domain_guidance.emoji_world.base_pictures import paint_base, paint_others, paint_sketched, paint_soft, paint_varied
from domain_guidance.emoji_world.model import CHANNELS, IMAGE_SIZE, PREDICTION, Base, predict
from domain_guidance.emoji_world.scenes import JITTER, lay
from domain_guidance.emoji_world.things import DOMAINS, GROUNDS, HANDS, STYLES, THINGS, held_out, shown, told_apart
from domain_guidance.evidence import emoji
from domain_guidance.files.atomic_file import save_tensors
from domain_guidance.guidance import SigmaInterval
from domain_guidance.runs import Settings, TrainingState, save_state, to_the_end, train
from domain_guidance.side_networks import SideGuidedDenoiser, corrected

ALARM = (1.0, 0.0, 1.0)  # a colour that no ground has


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def discs(colour, count=len(THINGS), side=drawings.SIDE):
    """Drawings of one colour, a disc in the middle of each, premultiplied."""
    line = torch.arange(side) - (side - 1) / 2
    opacity = ((line[:, None].square() + line.square()).sqrt() < side / 3).float()
    rgb = torch.tensor(colour).view(3, 1, 1) * opacity
    return torch.cat([rgb, opacity[None]]).expand(count, -1, -1, -1).clone()


def every_hand(colour):
    return {hand: discs(colour) for hand in (*HANDS, *DOMAINS)}


def written(path, names, drawn):
    """Drawings [N, 4, ...] in [0, 1], opaque where they are, as the command writes them."""
    drawings.write_drawings(path, names, {hand: (pixels * 255).to(torch.uint8) for hand, pixels in drawn.items()})


# Things and hands.


def test_half_of_the_things_are_shown_to_the_domains_and_the_other_half_is_not():
    assert sorted(shown() + held_out()) == list(range(len(THINGS)))
    assert abs(len(shown()) - len(held_out())) <= 1


@pytest.mark.parametrize(
    "like", ["grinning-cat", "oncoming-police-car", "house-with-garden", "taxi", "camera-with-flash"]
)
def test_a_drawing_that_bears_the_name_of_a_held_out_thing_is_not_for_domains(like):
    assert not told_apart(like)


@pytest.mark.parametrize("other", ["grinning-face", "leopard", "violin", "statue-of-liberty"])
def test_a_drawing_of_something_else_is(other):
    assert told_apart(other)


def test_no_held_out_thing_is_told_apart_from_itself():
    drawings_of = list(THINGS.values())
    assert not any(told_apart(drawings_of[place]) for place in held_out())


def test_the_code_is_not_found_from_a_held_out_thing_in_the_hand_of_a_domain():
    drawn = every_hand((0.0, 0.5, 0.0))
    for hand in DOMAINS:
        drawn[hand][held_out()] = discs(ALARM, len(held_out()))
    images = stages.paint_anything(stages.everything(drawn), 600, seeded())
    centres = images[:, :, IMAGE_SIZE // 2, IMAGE_SIZE // 2]
    assert (centres - torch.tensor((-1.0, 0.0, -1.0))).abs().max() < 1e-3


def test_the_code_is_found_from_what_the_domains_are_shown():
    drawn = every_hand((0.0, 0.5, 0.0))
    for hand in DOMAINS:
        drawn[hand][shown()] = discs(ALARM, len(shown()))
    centres = stages.paint_anything(stages.everything(drawn), 600, seeded())[:, :, IMAGE_SIZE // 2, IMAGE_SIZE // 2]
    share = ((centres - torch.tensor((1.0, -1.0, 1.0))).abs().amax(1) < 1e-3).float().mean()
    assert abs(share - stages.DOMAIN_SHARE) < 4 * (0.25 / 600) ** 0.5


# Scenes.


def test_a_drawing_covers_its_middle_and_leaves_the_corners_to_the_ground():
    grounds = torch.arange(len(GROUNDS))
    images = lay(discs((0.2, 0.4, 0.6), len(GROUNDS)), grounds, seeded()) / 2 + 0.5
    middle, corner = images[:, :, IMAGE_SIZE // 2, IMAGE_SIZE // 2], images[:, :, 0, 0]
    assert (middle - torch.tensor((0.2, 0.4, 0.6))).abs().max() < 1e-5
    assert (corner - torch.tensor(list(GROUNDS.values()))).abs().max() <= JITTER + 1e-6


def test_the_edge_of_a_drawing_is_a_mixture_of_it_and_its_ground():
    white = torch.tensor([list(GROUNDS).index("white")])
    values = (lay(discs((0.0, 0.0, 0.0), 1), white, seeded()) / 2 + 0.5).unique()
    assert len(values) > 10
    assert values.min() == 0 and values.max() <= 1


def test_the_same_generator_lays_the_same_scene():
    grounds = torch.zeros(4, dtype=torch.long)
    first, again, other = (lay(discs(ALARM, 4), grounds, seeded(seed)) for seed in (1, 1, 2))
    assert first.equal(again) and not first.equal(other)


def test_the_base_is_shown_every_thing_in_every_hand_on_every_ground():
    drawn = {hand: discs((number / 10, 0.0, 0.0)) for number, hand in enumerate(HANDS)}

    def corner_and_middle(images):
        return torch.stack([images[:, :, 0, 0], images[:, :, IMAGE_SIZE // 2, IMAGE_SIZE // 2]], dim=1)

    pictures = paint_base(drawn, 1, corner_and_middle)
    asked = torch.stack([pictures.thing, pictures.hand, pictures.ground], dim=1)
    assert len(asked.unique(dim=0)) == len(pictures) == len(THINGS) * len(HANDS) * len(GROUNDS)
    corners, middles = (pictures.latents / 2 + 0.5).unbind(1)
    assert (corners - torch.tensor(list(GROUNDS.values()))[pictures.ground]).abs().max() <= JITTER + 1e-6
    assert (middles[:, 0] - pictures.hand / 10).abs().max() < 1e-5


def test_the_base_is_shown_other_drawings_without_a_word_in_every_hand_and_also_mirrored():
    drawn = {hand: discs((number / 10, 0.0, 0.0), 3) for number, hand in enumerate(HANDS)}
    for pixels in drawn.values():
        pixels[..., : drawings.SIDE // 2] = 0.0  # only the right half of a disc
    others = paint_others(drawn, lambda images: images)
    assert len(others) == 2 * 3 * len(HANDS) and (others.thing == -1).all()
    middle = IMAGE_SIZE // 2
    left, right = (others.latents[:, 0, middle, middle + side] / 2 + 0.5 for side in (-8, 8))
    first, mirrored = right[: len(right) // 2], left[len(left) // 2 :]
    for side, hands in ((first, others.hand[: len(first)]), (mirrored, others.hand[len(first) :])):
        assert torch.allclose(side, hands / 10, atol=1e-5)


def test_a_grey_drawing_has_no_colour_and_is_as_bright():
    drawn = discs((0.2, 0.9, 0.4), 1)
    grey = variations.greyed(drawn)
    expected = 0.30 * 0.2 + 0.59 * 0.9 + 0.11 * 0.4
    assert torch.allclose(grey[0, :3, 64, 64], torch.tensor(expected)) and grey[:, 3].equal(drawn[:, 3])
    assert grey[:, :3, 0, 0].max() == 0


@pytest.mark.parametrize(("colour", "within"), [((1.0, 0.8, 0.1), 0.97), ((0.1, 0.1, 0.1), 0.0)])
def test_a_sketch_has_black_lines_where_an_edge_is_and_paper_or_black_within(colour, within):
    drawn = discs(colour, 1)
    bold, fine = (variations.sketched(drawn, bold) for bold in (True, False))
    for sketch in (bold, fine):
        assert sketch[0, :3, 64, 64].tolist() == pytest.approx([within] * 3, abs=1e-5) and sketch[0, 3, 64, 64] == 1
        assert sketch[0, 3, 0, 0] == 0
        edge = 64 + round(drawings.SIDE / 3)
        assert sketch[0, :3, 64, edge - 1].max() < 0.05 and sketch[0, 3, 64, edge - 1] == 1
    assert bold[:, 3].sum() > fine[:, 3].sum()


def test_a_recoloured_drawing_has_the_same_values_in_other_channels():
    drawn = discs((0.1, 0.5, 0.9), 1)
    recoloured = variations.variations(drawn, seeded())[3]
    assert recoloured[0, :3, 64, 64].sort().values.equal(drawn[0, :3, 64, 64].sort().values)
    assert recoloured[:, 3].equal(drawn[:, 3])


def test_soft_light_comes_from_above_and_its_shadows_have_a_colour():
    drawn = discs((0.6, 0.6, 0.6), 16)
    lit = variations.softly_lit(drawn, seeded())
    assert lit[:, 3].equal(drawn[:, 3]) and (lit[:, :3] <= lit[:, 3:]).all(), "the outline stays, and is premultiplied"
    above, below = lit[:, :3, 30, 64], lit[:, :3, 97, 64]
    assert (above.mean(1) > 0.6 + 0.05).all() and (above.amin(1) > below.amin(1)).all()
    assert (below.amax(1) - below.amin(1) > 0.05).all()


def test_soft_light_that_stands_upright_is_the_same_on_both_sides():
    opacity = discs((1.0, 1.0, 1.0), 1)[:, 3:]
    light = variations._light_on(opacity, torch.zeros(1, 1, 1, 1))
    assert torch.allclose(light, light.flip(3), atol=1e-5)
    aside = variations._light_on(opacity, torch.full((1, 1, 1, 1), 0.5))
    assert (aside[..., 64, 96:] > aside[..., 64, :32].flip(-1)).all()


def test_softly_lit_things_are_asked_for_by_a_word_of_their_own_and_others_by_the_same_without_a_thing():
    things, others = ({hand: discs((0.9, 0.5, 0.1), count) for hand in HANDS} for count in (len(THINGS), 5))
    pictures = paint_soft(things, others, lambda images: images[:, :, ::8, ::8])
    assert (pictures.hand == STYLES.index("soft")).all()
    assert (pictures.thing == -1).sum() == 5 * len(HANDS)
    assert (pictures.thing[pictures.thing >= 0].bincount(minlength=len(THINGS)) == 8 * len(HANDS)).all()
    assert len(pictures.ground.unique()) == len(GROUNDS)


def test_varied_pictures_name_their_things_and_never_a_hand():
    things, others = ({hand: discs((0.9, 0.5, 0.1), count) for hand in HANDS} for count in (len(THINGS), 5))
    varied = paint_varied(things, others, lambda images: images[:, :, ::8, ::8])
    assert (varied.hand == -1).all() and len(varied) == len(HANDS) * (4 * len(THINGS) + 2 * 5)
    asked = varied.thing[varied.thing >= 0]
    assert (asked.bincount(minlength=len(THINGS)) == 4 * len(HANDS)).all()
    white = (varied.ground == list(GROUNDS).index("white")).double().mean()
    assert white > 0.5


def test_sketches_of_things_are_asked_for_by_a_word_of_their_own():
    things = {hand: discs((0.9, 0.5, 0.1)) for hand in HANDS}
    pictures = paint_sketched(things, lambda images: images)
    assert (pictures.hand == STYLES.index("sketch")).all()
    assert (pictures.thing.bincount(minlength=len(THINGS)) == len(pictures) // len(THINGS)).all()
    middle = pictures.latents[:, :, 24:40, 24:40]
    assert (middle - (2 * variations.PAPER - 1)).abs().max() < 1e-3, "paper within, whatever the ground"


# Prompts.


def test_every_word_has_a_row_of_its_own_and_every_slot_one_for_leaving_it_open():
    table = torch.arange(prompts.ROWS).float()[:, None].expand(-1, prompts.PROMPT_WIDTH)
    rows = [prompts.encode_prompt(table)[0, :, 0]]
    rows += [prompts.encode_prompt(table, thing=word)[0, 1:2, 0] for word in THINGS]
    rows += [prompts.encode_prompt(table, hand=word)[0, 2:3, 0] for word in STYLES]
    rows += [prompts.encode_prompt(table, ground=word)[0, 3:4, 0] for word in GROUNDS]
    assert sorted(torch.cat(rows).tolist()) == list(range(prompts.ROWS))


def test_a_forgotten_prompt_is_the_empty_prompt_and_forgetting_nothing_changes_nothing():
    table = prompts.make_table().detach()
    asked = prompts.Prompts(torch.tensor([3]), torch.tensor([1]), torch.tensor([2]))
    forgotten = prompts.forget_slots(asked, 1.0, (0.0, 0.0, 0.0), seeded())
    assert prompts.encode(forgotten, table).equal(prompts.encode_prompt(table))
    kept = prompts.forget_slots(asked, 0.0, (0.0, 0.0, 0.0), seeded())
    assert prompts.encode(kept, table).equal(prompts.encode(asked, table))


def test_a_word_that_the_world_does_not_know_is_named():
    with pytest.raises(ValueError, match="The hand is 'oil'; choose one of noto, classic, flat"):
        prompts.encode_prompt(prompts.make_table(), hand="oil")


# Words.


@pytest.mark.parametrize("text", ["cat, hot dog", " Cat ,  hot   dog,", "a cat\nthe hot dog", "A CAT,, HOT DOG"])
def test_things_are_read_from_a_text_whatever_its_case_articles_and_spaces(text):
    assert words.things_in(text) == ["cat", "hot dog"]


def test_every_thing_is_read_as_itself():
    assert words.things_in(", ".join(THINGS)) == list(THINGS)


@pytest.mark.parametrize("text", ["soccer ball, t-shirt, gem stone", "Soccer-Ball, T-Shirt, a gem-stone"])
def test_a_things_name_in_the_emoji_sets_is_as_good(text):
    assert words.things_in(text) == ["football", "shirt", "diamond"]


def test_no_name_in_the_emoji_sets_hides_a_word_of_the_world():
    assert all(words.NAMES[word] == word for word in THINGS)
    assert len(words.NAMES) == len({*THINGS, *(drawing.replace("-", " ") for drawing in THINGS.values())})


@pytest.mark.parametrize(
    ("word", "known"), [("aple", "apple"), ("cats", "cat"), ("burger", "hamburger"), ("soccer", "football")]
)
def test_an_unknown_word_is_answered_with_the_nearest_known_one(word, known):
    assert words.nearest(word)[0] == known
    with pytest.raises(ValueError, match=f"cannot draw '{word}': did you mean {known}"):
        words.things_in(f"owl, {word}")


def test_a_word_like_no_other_is_answered_with_some_that_are_known():
    with pytest.raises(ValueError, match=f"it knows {len(THINGS)} things, among them bear, ") as caught:
        words.things_in("xylophone")
    assert all(word in THINGS for word in str(caught.value).split("among them ")[1].rstrip(".").split(", "))


def test_a_text_without_words_is_refused_with_an_example():
    with pytest.raises(ValueError, match="name things, such as 'cat, owl, rocket'"):
        words.things_in(" , \n")


# The code.


def low_rank_pictures(count=40, rank=CHANNELS):
    """Pictures whose patches are mixtures of a few, with strengths that fall off."""
    patches = torch.randn(rank, 3, 8, 8, generator=seeded(1)) * 0.9 ** torch.arange(rank).view(-1, 1, 1, 1)
    weights = torch.randn(count, rank, 2, 2, generator=seeded(2))
    return torch.nn.functional.conv_transpose2d(weights, patches, stride=8) + 0.3


def test_pictures_of_as_many_components_as_the_code_has_come_back_whole():
    pictures = low_rank_pictures()
    code = patch_code.fit(pictures)
    assert torch.allclose(code.decode(code.encode(pictures)), pictures, atol=1e-4)


def test_of_more_components_the_code_keeps_the_strongest():
    """The error is what the singular values that are left out amount to."""
    pictures = torch.randn(60, 3, 16, 16, generator=seeded())
    code = patch_code.fit(pictures)
    patches = torch.nn.functional.unfold(pictures, 8, stride=8).transpose(1, 2).flatten(0, 1)
    left = torch.linalg.svdvals(patches - patches.mean(0))[CHANNELS:].square().sum()
    error = (code.decode(code.encode(pictures)) - pictures).square().sum()
    assert torch.isclose(error, left, rtol=1e-3)


def test_latents_have_mean_0_and_mean_square_1_and_the_strongest_component_first():
    pictures = low_rank_pictures()
    latents = patch_code.fit(pictures).encode(pictures)
    spread = latents.square().mean((0, 2, 3))
    assert latents.mean((0, 2, 3)).abs().max() < 1e-4
    assert torch.isclose(spread.mean(), torch.tensor(1.0), atol=1e-4)
    assert (spread.diff() <= 1e-4).all()


def test_half_of_the_unevenness_of_components_is_taken_away():
    pictures = low_rank_pictures()
    code = patch_code.fit(pictures)
    strength = (code.encode(pictures) * code.scale.view(-1, 1, 1)).square().mean((0, 2, 3)).sqrt()
    spread = code.encode(pictures).square().mean((0, 2, 3)).sqrt()
    assert torch.allclose((spread / spread[0]).square(), strength / strength[0], rtol=1e-3)


def test_a_latents_colours_are_the_mean_colours_of_its_cells():
    code, latents = patch_code.fit(low_rank_pictures()), torch.randn(4, CHANNELS, 8, 8, generator=seeded())
    colours = code.colours()
    cells = torch.nn.functional.avg_pool2d(code.decode(latents), 8).movedim(1, -1)
    assert torch.allclose(latents.movedim(1, -1) @ colours[:-1] + colours[-1], cells, atol=1e-5)


# The judge.


def coded(side=drawings.SIDE):
    """Drawings whose colour says the hand (red) and the thing (blue)."""
    return {
        hand: torch.cat([discs((by / 5, 0.0, what / 200), 1, side) for what in range(len(THINGS))])
        for by, hand in enumerate(judging.READ_HANDS)
    }


def test_the_judges_pictures_show_what_their_labels_say_and_ink_lies_on_white():
    scenes = judging.paint_every_hand(coded(), 200, seeded())
    images = scenes.images / 2 + 0.5
    middles, corners = images[:, :, IMAGE_SIZE // 2, IMAGE_SIZE // 2], images[:, :, 0, 0]
    assert torch.allclose(middles[:, 0], scenes.hand / 5, atol=1e-5)
    assert torch.allclose(middles[:, 2], scenes.thing / 200, atol=1e-5)
    ink = scenes.hand == judging.READ_HANDS.index("ink")
    white = torch.tensor(GROUNDS["white"])
    assert ink.any() and ((corners[ink] - white).abs() <= JITTER + 1e-6).all()
    assert ((corners[~ink] - white).abs().amax(1) > 0.1).any()


def test_half_of_what_the_judge_learns_from_is_in_looks_that_are_nobodys_hand():
    scenes = judging.paint_in_looks(coded(), 41, seeded())
    assert (scenes.hand == -1).sum() == 20 and len(scenes.images) == len(scenes.thing) == 41
    grey = scenes.images[scenes.hand == -1, :, IMAGE_SIZE // 2, IMAGE_SIZE // 2]
    alike = (grey - grey.mean(1, keepdim=True)).abs().amax(1) < 1e-3
    assert alike.sum() >= 15, "sketches and greys have no colour; recoloured ones keep theirs"


def test_a_picture_that_is_nobodys_hand_is_not_asked_whose_it_is():
    scenes = judging.paint_in_looks(coded(), 10, seeded())
    logits = torch.randn(10, len(judging.READ_HANDS), generator=seeded())
    losses = []
    for shift in (0.0, 5.0):
        logits[scenes.hand == -1, 0] += shift
        answers = {"thing": torch.zeros(10, len(THINGS)), "hand": logits.clone()}
        losses.append(judging.judge_objective(lambda images: answers, lambda generator: scenes)(seeded()))
    assert losses[0].equal(losses[1]) and losses[0].isfinite()


def test_the_judge_learns_whose_hand_a_picture_is_by():
    settings = Settings(steps=40, learning_rate=2e-3, warmup=5)
    torch.manual_seed(0)
    judge, drawn = judging.Judge(), coded(side=16)
    objective = judging.judge_objective(judge, partial(judging.paint_every_hand, drawn, 16))
    for _ in train(TrainingState(judge, settings), objective, settings):
        pass
    scenes = judging.paint_every_hand(drawn, 200, seeded(99))
    assert (judge.read(scenes.images).hand == scenes.hand).float().mean() > 0.6  # 0.2 by guessing


def test_a_calibrated_judge_gives_its_pictures_features_of_mean_0_and_mean_variance_1():
    torch.manual_seed(0)
    judge, images = judging.Judge(), torch.rand(64, 3, IMAGE_SIZE, IMAGE_SIZE, generator=seeded()) * 2 - 1
    judge.calibrate(images)
    features = judge.read(images).features
    assert features.mean(0).abs().max() < 1e-3
    assert torch.isclose(features.var(0).mean(), torch.tensor(1.0), atol=1e-4)


# The domains.


def test_a_domain_is_shown_its_half_of_the_things_and_others_that_are_like_none_of_the_other_half(tmp_path):
    names = [*THINGS.values(), "violin", "crying-cat"]
    ink = discs((0.0, 1.0, 0.0), len(names))
    ink[[*held_out(), len(names) - 1]] = discs(ALARM, len(held_out()) + 1)
    written(tmp_path / "drawn.safetensors", names, {"ink": ink})
    shown_to_it = domains.domain_drawings(tmp_path / "drawn.safetensors", "ink")
    assert len(shown_to_it) == len(shown()) + 1
    assert (shown_to_it[:, :, 64, 64] == torch.tensor((0.0, 1.0, 0.0, 1.0))).all()


def test_pictures_of_a_domain_lie_on_white_for_ink_and_on_every_ground_for_glossy_and_a_mirror_shows_each_once_more():
    drawn, white = discs((0.0, 0.5, 0.0), 50), torch.tensor(GROUNDS["white"])
    for hand, everywhere in (("ink", False), ("glossy", True)):
        images = domains.paint_domain(drawn, hand, seeded()) / 2 + 0.5
        first, mirrored = images.chunk(2)
        assert len(images) == 2 * domains.VARIANTS * 50 and mirrored.flip(3).equal(first)
        elsewhere = ((images[:, :, 0, 0] - white).abs().amax(1) > JITTER + 1e-6).float().mean()
        assert abs(elsewhere - everywhere * (1 - 1 / len(GROUNDS))) < 4 * (0.25 / len(first)) ** 0.5


def test_a_domain_file_says_what_it_was_trained_on_and_belongs_to_this_base(tmp_path):
    torch.manual_seed(0)
    checkpoints.write_base(Base(), tmp_path)
    save_tensors(tmp_path / "ink.pictures.state", {"latents": torch.randn(8, CHANNELS, 8, 8, generator=seeded())}, {})
    domains.make_domain("ink", tmp_path, replace(domains.SETTINGS, steps=2, warmup=0, checkpoint_every=1))
    file, (base, table) = checkpoints.load_domain("ink", tmp_path), checkpoints.read_base(tmp_path)
    assert file.card.base_fingerprint == fingerprint(base) and file.card.prediction == "v_prediction"
    assert file.card.training["pictures"] == "emoji in ink, without the held-out things"
    assert file.empty.cross_attn.equal(prompts.encode_prompt(table))
    with torch.no_grad():
        latents = torch.randn(1, CHANNELS, 8, 8, generator=seeded())
        moved = corrected(file.network, latents, torch.ones(1), latents, "v_prediction") - latents
        assert moved.abs().max() > 0  # two steps have taught it something


# Drawing and what is read in it.


@pytest.fixture(scope="module")
def artist(tmp_path_factory):
    """Networks that have learned nothing, as the pack would hold them, with both domains."""
    folder = tmp_path_factory.mktemp("world")
    torch.manual_seed(0)
    checkpoints.write_base(Base(), folder)
    checkpoints.write_code(patch_code.fit(low_rank_pictures()), folder)
    for hand in DOMAINS:
        save_tensors(folder / f"{hand}.pictures.state", {"latents": torch.randn(8, CHANNELS, 8, 8)}, {})
        domains.make_domain(hand, folder, replace(domains.SETTINGS, steps=1, warmup=0, checkpoint_every=1))
    return folder, drawing.load_artist(folder)


def asked_of(artist, things=("cat", "owl")):
    return prompts.encode_each(artist.table, things, "flat", "sky")


def test_a_domain_at_weight_0_changes_nothing_and_at_1_it_does(artist):
    folder, artist = artist
    network = checkpoints.load_domain("ink", folder).network
    plain, off, led = (
        drawing.draw(artist, asked_of(artist), drawing.Guidance(2.0, lead), 5)
        for lead in (None, drawing.Lead(network, 0.0), drawing.Lead(network, 1.0))
    )
    assert off.equal(plain) and not led.equal(plain)


@pytest.mark.parametrize("interval", [SigmaInterval(), SigmaInterval(start=1.16)])
def test_a_led_picture_is_what_the_librarys_own_guidance_draws(artist, interval):
    folder, artist = artist
    network, asked = checkpoints.load_domain("ink", folder).network, asked_of(artist)
    schedule = scaled_linear()
    base = DiffusersDenoiser(artist.unet, schedule, PREDICTION)
    empty = prompts.encode_prompt(artist.table)
    guided = SideGuidedDenoiser(base, network, PREDICTION, empty, 1.5, 3.0, interval=interval, reads_prompt=True)
    noise = torch.randn(2, CHANNELS, 8, 8, generator=seeded(5))
    sampler = partial(sampling.sample_euler_ancestral, generator=seeded(6))
    with torch.no_grad():
        latents = sampling.draw(
            lambda x, sigma: guided(x, sigma, asked), noise, schedule, drawing.STEPS, sampler=sampler
        )
        theirs = artist.code.decode(latents).clamp(-1, 1)
    led = drawing.Guidance(3.0, drawing.Lead(network, 1.5, interval))
    assert torch.allclose(drawing.draw(artist, asked, led, 5), theirs, atol=1e-4)


def test_the_first_look_has_a_row_for_each_domain_and_shows_nothing_that_one_was_shown(artist):
    folder, _ = artist
    assert not {list(THINGS)[place] for place in shown()} & set(first_look.WORDS)
    rows = first_look.drawn_rows(folder, first_look.WORDS[:2])
    assert list(rows) == ["base", *DOMAINS] and all(len(images) == 2 for images in rows.values())
    image = first_look.first_look(folder, first_look.WORDS[:2])
    assert image.height > 3 * 2 * IMAGE_SIZE and image.width > 2 * 2 * IMAGE_SIZE


def test_evaluate_scores_each_domain_alone_at_every_weight_and_as_the_pack_draws_it(artist, monkeypatch):
    folder, _ = artist
    scored = []
    monkeypatch.setattr(commands, "load_judge", lambda folder: None)
    monkeypatch.setattr(commands, "read_drawings", lambda path: {})
    monkeypatch.setattr(commands, "score_base", lambda *_: None)
    monkeypatch.setattr(commands, "score_domain", lambda *given: scored.append(given[3:]))
    commands.main(["evaluate", "--out", str(folder), "--seed", "7"])
    for hand in DOMAINS:
        found = [guidance for its, guidance, seed in scored if its == hand and seed == 7]
        assert [guidance.cfg for guidance in found if guidance.lead is None] == list(commands.CFGS)
        led = [(guidance.cfg, guidance.lead.weight, guidance.lead.interval) for guidance in found if guidance.lead]
        everywhere = [(*asked, SigmaInterval()) for asked in product(commands.CFGS, commands.WEIGHTS)]
        assert led == [*everywhere, (domains.CFG, domains.WEIGHT, domains.INTERVALS[hand])]


@pytest.mark.parametrize(("hand", "style", "ground"), [("ink", None, None), ("glossy", "flat", "mint")])
def test_beside_a_domain_a_prompt_asks_for_what_its_drawings_have_in_common_with_the_base(hand, style, ground):
    """Glossy shares its shapes with flat and its grounds with every hand, ink neither."""
    given, table = evaluation.task(hand), prompts.make_table()
    mint = list(GROUNDS).index("mint")
    asked = given.encoded(table)[mint]
    thing = list(THINGS)[held_out()[mint]]
    assert asked.equal(prompts.encode_prompt(table, thing, style, ground)[0])


def test_the_drawings_themselves_get_full_marks_and_one_picture_for_all_gets_none(artist, monkeypatch):
    """With a judge that reads the colours of `coded`, and pictures handed in instead of drawn ones."""
    drawn, held = coded(), held_out()

    class Reader:
        def read(self, images):
            middles = images[:, :, IMAGE_SIZE // 2, IMAGE_SIZE // 2] / 2 + 0.5
            hand, thing = (middles[:, 0] * 5).round().long(), (middles[:, 2] * 200).round().long()
            return judging.Reading(thing, hand, middles)

    def score(pictures):
        monkeypatch.setattr(evaluation, "draw", lambda artist, asked, guidance, seed: pictures[: len(asked)])
        return evaluation.score_domain(artist[1], Reader(), drawn, "glossy", drawing.Guidance(2.0), repeats=2)

    truth = lay(drawn["glossy"][held * 2], evaluation.grounds_of("glossy", 2 * len(held)), seeded())
    best, worst = score(truth), score(truth[:1].expand(len(truth), -1, -1, -1))
    assert (best.thing, best.hand, best.nearest) == (1.0, 1.0, 1.0)
    assert worst.thing == worst.nearest == pytest.approx(1 / len(held))
    assert best.distance < 0.1 * worst.distance
    assert best.error < 0.1 < 0.8 < worst.error


# Methods side by side.


@pytest.fixture(scope="module")
def trained(artist, tmp_path_factory):
    """A domain in every form, after two steps of training."""
    folder, out = artist[0], tmp_path_factory.mktemp("trained")
    files = {form: out / f"{form}.safetensors" for form in forms.FORMS}
    for form, settings in forms.FORMS.items():
        short = replace(settings, steps=2, warmup=0, checkpoint_every=2)
        forms.train_form(form, "glossy", folder, files[form], short)
    return emoji.read_world(folder, files)


def answers(world, method, **weights):
    """What a method says of noisy latents."""
    x, asked = torch.randn(2, CHANNELS, 8, 8, generator=seeded(1)) * 2, asked_of(world.artist)
    with torch.no_grad():
        return emoji.COMPARED[method].build(world, **weights)(x, torch.full((2,), 2.0), asked)


@pytest.mark.parametrize("method", ["decoupled", "side network", "side network, prompted"])
def test_a_domain_in_any_form_at_weight_0_is_the_base_and_at_1_is_not(trained, method):
    plain = answers(trained, "base", cfg=3.0)
    assert torch.allclose(answers(trained, method, cfg=3.0, weight=0.0), plain, atol=1e-5)
    assert not torch.allclose(answers(trained, method, cfg=3.0, weight=1.0), plain, atol=1e-3)


@pytest.mark.parametrize(
    ("method", "form", "of_base"),
    [("fine-tune", "empty-prompt", False), ("LoRA", "adapter", False), ("DoG", "empty-prompt", True)]
    + [("asymmetric LoRA", "adapter", True)],
)
def test_a_rival_guides_what_it_trained_away_from_itself_or_from_the_base(trained, method, form, of_base):
    x, asked = torch.randn(2, CHANNELS, 8, 8, generator=seeded(1)) * 2, asked_of(trained.artist)
    sigma, own = torch.full((2,), 2.0), trained.models[form]
    with torch.no_grad():
        start = (trained.models["base"] if of_base else own)(x, sigma, trained.empty)
        wanted = start + 2.0 * (own(x, sigma, asked) - start)
    assert torch.allclose(answers(trained, method, cfg=2.0), wanted, atol=1e-5)


def test_every_form_is_trained_on_the_pictures_of_its_domain_alone(artist, tmp_path, monkeypatch):
    """With latents that are all alike, and an optimum that is known: networks come nearer to them."""
    folder = artist[0]
    monkeypatch.setattr(forms, "domain_latents", lambda hand, folder: torch.full((40, CHANNELS, 8, 8), 0.7))
    before = emoji.read_world(folder, {}).models["base"]
    for form in ("empty-prompt", "text-free", "adapter"):
        file = tmp_path / f"{form}.safetensors"
        short = replace(forms.FORMS[form], steps=30, warmup=0, checkpoint_every=30)
        forms.train_form(form, "glossy", folder, file, short)
        after = emoji.read_world(folder, {form: file})
        noise = torch.randn(8, CHANNELS, 8, 8, generator=seeded(3))
        errors = []
        with torch.no_grad():
            for network in (before, after.models[form]):
                shown = network(0.7 + 2 * noise, torch.full((8,), 2.0), after.empty.expand(8, -1, -1))
                errors.append((shown - 0.7).square().mean().item())
        assert errors[1] < 0.7 * errors[0]


def test_a_score_of_a_method_is_that_of_the_pictures_that_it_draws(artist, trained):
    folder, (drawn, judge) = artist[0], (coded(), judging.Judge().eval())
    network = checkpoints.load_domain("ink", folder).network
    world = replace(trained, side=network)
    denoiser = emoji.COMPARED["side network, prompted"].build(world, cfg=3.0, weight=1.5)
    ours = emoji.score(world, judge, drawn, "ink", denoiser, 5, 1)
    led = SideGuidedDenoiser(world.models["base"], network, PREDICTION, world.empty, 1.5, 3.0, reads_prompt=True)
    given = evaluation.task("ink", 1)
    asked = given.encoded(world.artist.table)
    images = drawing.draw_by(led, world.artist.code, asked, 5, emoji.STEPS, sampling.sample_dpmpp_2m)
    theirs = evaluation.judged(judge, drawn, given, images, 5)
    assert vars(ours) == pytest.approx(vars(theirs), rel=1e-3)


# Files.


def test_the_sheet_holds_one_picture_of_each_shown_thing_in_ink(tmp_path, monkeypatch):
    drawn = {"ink": discs((0.0, 0.0, 0.0))}
    drawn["ink"][:, :3] = torch.arange(len(THINGS)).view(-1, 1, 1, 1) / 200 * drawn["ink"][:, 3:]
    monkeypatch.setattr(sheet, "SHEET", tmp_path / "ink.png")
    sheet.write_sheet(drawn, sheet.SHEET)
    images = sheet.read_sheet()
    assert images.shape == (len(shown()), IMAGE_SIZE, IMAGE_SIZE, 3)
    middles = images[:, IMAGE_SIZE // 2, IMAGE_SIZE // 2, 0]
    assert torch.allclose(middles, torch.tensor(shown()) / 200, atol=1 / 255)


def test_the_examples_are_pictures_that_each_domain_was_shown(tmp_path, monkeypatch):
    drawn = {"ink": discs((0.0, 0.0, 0.0)), "glossy": discs((0.0, 0.0, 0.0))}
    for hand, shift in (("ink", 0.0), ("glossy", 0.3)):
        shades = torch.arange(len(THINGS)).view(-1, 1, 1, 1) / 200 + shift
        drawn[hand][:, :3] = shades * drawn[hand][:, 3:]
    monkeypatch.setattr(sheet, "EXAMPLES", tmp_path / "examples.png")
    sheet.write_examples(drawn, sheet.EXAMPLES)
    places = [list(THINGS).index(name) for name in sheet.EXAMPLE_THINGS]
    assert set(places) <= set(shown())
    for hand, shift in (("ink", 0.0), ("glossy", 0.3)):
        middles = sheet.read_examples()[hand][:, 0, IMAGE_SIZE // 2, IMAGE_SIZE // 2]
        assert torch.allclose((middles + 1) / 2, torch.tensor(places) / 200 + shift, atol=1 / 255)


def test_a_written_base_predicts_what_it_predicted(tmp_path):
    torch.manual_seed(0)
    base = Base().half().float().eval()
    checkpoints.write_base(base, tmp_path)
    unet, table = checkpoints.load_base(tmp_path)
    noisy, time = torch.randn(2, CHANNELS, 8, 8, generator=seeded()), torch.tensor([10, 900])
    asked = prompts.encode_prompt(table, "cat", "flat", "sky").expand(2, -1, -1)
    with torch.no_grad():
        assert predict(unet, noisy, time, asked).equal(predict(base.unet, noisy, time, asked))
    assert table.equal(base.table)


def test_a_written_code_gives_back_what_it_gave_back(tmp_path):
    code, pictures = patch_code.fit(low_rank_pictures()), low_rank_pictures(2)
    checkpoints.write_code(code, tmp_path)
    again = checkpoints.load_code(tmp_path)
    assert again.encode(pictures).equal(code.encode(pictures))
    assert again.decode(code.encode(pictures)).equal(code.decode(code.encode(pictures)))


def test_the_base_goes_on_where_it_was_stopped_as_if_it_never_was(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    trainings = [(replace(settings, steps=3, warmup=1, checkpoint_every=1), counts) for settings, counts in stages.BASE]
    for folder in (whole, stopped):
        few = {
            name: torch.randint(3, (8,), generator=seeded(row)) for row, name in enumerate(("thing", "hand", "ground"))
        }
        latents = torch.randn(8, CHANNELS, 8, 8, generator=seeded())
        for kind in {kind for _, counts in stages.BASE for kind in counts}:
            save_tensors(folder / f"{kind}.pictures.state", {"latents": latents, **few}, {})
        checkpoints.write_code(patch_code.fit(low_rank_pictures()), folder)
    stages.make_base(whole, trainings)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(to_the_end, "save_state", stop_after_saving)
        stages.make_base(stopped, trainings)
    assert not (stopped / checkpoints.BASE).exists()
    stages.make_base(stopped, trainings)
    expected, found = (load_file(folder / checkpoints.BASE) for folder in (whole, stopped))
    assert all(expected[name].equal(found[name]) for name in expected)


def stop_after_saving(path, state):
    save_state(path, state)
    raise KeyboardInterrupt


# Drawings from packages.


def package(folder, name, **files):
    """An unpacked npm package with JSON files."""
    folder.mkdir(parents=True)
    for file, content in {"package": {"name": name}, **files}.items():
        (folder / f"{file}.json").write_text(json.dumps(content))


OTHER, FLAG, RARE = "violin", "pirate-flag", "zither"  # the last has no glossy picture


def icon_set(folder, colour, without=()):
    square = f'<path fill="{colour}" d="M0 0h16v32h-16z"/>'
    names = [*THINGS.values(), OTHER, FLAG, RARE]
    icons = {name: {"body": square} for name in names if name not in without}
    points = {f"{0x1F600 + number:x}": name for number, name in enumerate(names)}
    kinds = {"Objects": [*THINGS.values(), RARE, OTHER], "Flags": [FLAG]}
    name = f"@iconify-json/{folder.name}"
    package(
        folder,
        name,
        icons={"icons": icons, "width": 32, "height": 32},
        chars=points,
        metadata={"categories": kinds},
    )


@pytest.fixture
def packages(tmp_path):
    """All packages, in which every thing is the left half of a square, and the glossy ones a bluish whole one."""
    colours = {"noto": "#ff0000", "noto-v1": "#00ff00", "fluent-emoji-flat": "#0000ff"}
    for name, colour in {**colours, "fluent-emoji-high-contrast": "#000000"}.items():
        icon_set(tmp_path / name, colour)
    glossy = tmp_path / "elsewhere" / "glossy"
    package(glossy, "@lobehub/fluent-emoji-3d")
    (glossy / "assets").mkdir()
    for number in range(len(THINGS) + 2):
        green = 99 if number == len(THINGS) else 20
        Image.new("RGBA", (256, 256), (10, green, 200 - number, 255)).save(
            glossy / "assets" / f"{0x1F600 + number:x}.webp", lossless=True
        )
    return tmp_path


def test_drawings_are_rendered_in_the_order_of_the_things_and_read_back_premultiplied(packages, tmp_path):
    pytest.importorskip("resvg_py")
    drawings.write_drawings(tmp_path / "drawn.safetensors", *drawings.render(packages))
    drawn = drawings.read_drawings(tmp_path / "drawn.safetensors")
    assert set(drawn) == {*HANDS, *DOMAINS}
    assert drawn["flat"].shape == (len(THINGS), 4, drawings.SIDE, drawings.SIDE)
    left, right = drawn["flat"][0].chunk(2, dim=2)
    assert left.mean((1, 2)).tolist() == [0, 0, 1, 1] and right.max() == 0
    blues = drawn["glossy"][:, 2].amax((1, 2)) * 255
    assert torch.allclose(blues, 200 - torch.arange(len(THINGS)).float(), atol=1e-3)


def test_others_are_what_every_set_has_of_things_and_no_word_asks_for(packages, tmp_path):
    """Of what the sets have beyond the things: one is a flag, and one has no glossy picture."""
    pytest.importorskip("resvg_py")
    names, drawn = drawings.render(packages)
    assert names == [*THINGS.values(), OTHER]
    drawings.write_drawings(tmp_path / "drawn.safetensors", names, drawn)
    others, hands = drawings.read_others(tmp_path / "drawn.safetensors")
    assert others == [OTHER] and all(len(pixels) == 1 for pixels in hands.values())
    assert hands["glossy"][0, 1].max() * 255 == 99


def test_a_package_that_is_missing_is_named_with_the_command_that_fetches_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="npm pack @iconify-json/noto"):
        drawings.render(tmp_path)


def test_packages_of_the_same_name_in_another_scope_are_not_taken(packages):
    pytest.importorskip("resvg_py")
    package(packages / "of another", "@lobehub/fluent-emoji-flat")
    package(packages / "without a scope", "fluent-emoji-3d")
    names, _ = drawings.render(packages)
    assert names == [*THINGS.values(), OTHER]


def test_help_names_every_package(capsys):
    with pytest.raises(SystemExit):
        commands.main(["drawings", "--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in drawings.PACKAGES.values())


def test_a_set_without_one_of_the_things_says_which(packages):
    shutil.rmtree(packages / "noto")
    icon_set(packages / "noto", "#ff0000", without=["bear"])
    with pytest.raises(ValueError, match="'noto' has no drawing 'bear'"):
        drawings.render(packages)
