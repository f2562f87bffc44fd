"""The toy's adaptations in small: the critics, the rival, the measures, and the claims of docs/adaptation.md with fewer
steps.
"""

from dataclasses import replace

import pytest
import torch

from domain_guidance.adaptation import AdaptedPair
from domain_guidance.generators import read_generator_file
from domain_guidance.toy_world import adaptation, adaptation_runs, checkpoints, nada
from domain_guidance.toy_world.adaptation import GOALS, Found, measure, pictures
from domain_guidance.toy_world.adaptation_runs import choose, rival, way
from domain_guidance.toy_world.comparison import load_models
from domain_guidance.toy_world.critics import domain_critic, prompt_critic
from domain_guidance.toy_world.prompts import encode_prompt

SEEDS = range(500, 700)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def models():
    return load_models()


@pytest.fixture(scope="module")
def source():
    return checkpoints.load_generator()


@pytest.fixture()
def noisy():
    return torch.randn(2, 3, 16, 16, generator=seeded()), torch.tensor([0.5, 1.2])


# --- critics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 1.0, 7.5])
def test_the_domain_critic_is_the_base_plus_the_weighted_difference_and_reads_no_text(models, noisy, weight):
    base, domain = (denoiser(*noisy, models.empty) for denoiser in (models.base, models.domain))
    torch.testing.assert_close(
        domain_critic(models, weight).denoise(*noisy), base + weight * (domain - base), rtol=1e-4, atol=1e-4
    )


def test_the_prompt_critic_is_classifier_free_guidance(models, noisy):
    base, asked = (models.base(*noisy, prompt) for prompt in (models.empty, encode_prompt(models.table, ground="sky")))
    torch.testing.assert_close(
        prompt_critic(models, 7.5, ground="sky").denoise(*noisy), base + 7.5 * (asked - base), rtol=1e-4, atol=1e-4
    )


def test_the_critics_latents_are_the_pixels(models, noisy):
    pixels = noisy[0].requires_grad_()
    domain_critic(models, 2).encode(pixels).sum().backward()
    assert torch.equal(pixels.grad, torch.ones_like(pixels))


# --- measures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", GOALS.values(), ids=list(GOALS))
def test_real_pictures_of_a_goal_lie_at_distance_zero_and_on_its_ground(models, goal):
    real, others = (goal.paint("held_out", 400, seeded(seed)) for seed in (1, 2))
    found = measure(real, others, goal, models, reference_seed=3)
    assert found.distance < 0.03 and abs(found.pixels) < 0.01 and found.reached > 0.95 and found.readable > 0.95
    assert found.diversity == pytest.approx(1, abs=0.05)
    assert found.kept < 0.2  # pictures that have nothing to do with each other


def test_the_source_measured_against_itself_has_changed_nothing(models, source):
    before, after = pictures(AdaptedPair(source, "cpu"), range(50))
    found = measure(after, before, GOALS["plates"], models, reference_seed=3)
    assert (found.diversity, found.kept) == (1, 1) and found.reached < 0.05


def test_one_picture_many_times_has_no_diversity(models, source):
    before, _ = pictures(AdaptedPair(source, "cpu"), range(50))
    assert measure(before[:1].expand_as(before), before, GOALS["plates"], models, reference_seed=3).diversity < 1e-3


def found(distance, diversity):
    return Found(distance, pixels=0.0, diversity=diversity, readable=1.0, kept=1.0, reached=1.0)


def test_the_choice_is_the_nearest_that_keeps_the_diversity():
    collapsed, far, near = (way("plates", strength, steps=1) for strength in (1, 2, 3))
    floor = adaptation_runs.DIVERSE
    assert choose([(collapsed, found(0.1, floor - 0.01)), (far, found(0.3, 1.0)), (near, found(0.2, floor))]) == near
    assert choose([(collapsed, found(0.1, floor - 0.2)), (far, found(0.3, floor - 0.1))]) == far


def test_every_way_has_a_file_of_its_own():
    for ways in (adaptation_runs.GRID, adaptation_runs.WAYS):
        assert ways and len({each.file_name(0) for each in ways}) == len(ways)
        assert {each.goal for each in ways} == set(GOALS)


# --- the rival -------------------------------------------------------------------------------------------------------


def test_the_direction_loss_is_zero_along_the_direction_and_two_against_it(models, source):
    pair, judge = AdaptedPair(source, "cpu"), models.judge
    pair.module.load_state_dict(
        {
            name: tensor + 0.05 * torch.randn(tensor.shape, generator=seeded(1))
            for name, tensor in pair.module.state_dict().items()
        }
    )
    adapted, before = pair.draw(1, seeded(2), with_source=True)
    with torch.no_grad():
        moved = (judge.body(adapted.clamp(-1, 1)) - judge.body(before.clamp(-1, 1)))[0]
    for direction, loss in ((moved, 0.0), (-3 * moved, 2.0)):
        assert nada.direction_objective(pair, judge, direction, batch=1)(seeded(2)).item() == pytest.approx(
            loss, abs=1e-5
        )


# --- adapting --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short(models, source, tmp_path_factory):
    """Each kind of run with a few steps, made once: its pair, and its measures on 200 seeds."""
    folder, made = tmp_path_factory.mktemp("adapted"), {}

    def run(short_way, seed=5):
        if short_way not in made:
            pair = adaptation.adapt(short_way, source, models, folder, seed)
            before, after = pictures(pair, SEEDS)
            made[short_way] = (
                pair,
                measure(after, before, GOALS[short_way.goal], models, reference_seed=3),
                folder / short_way.file_name(seed),
            )
        return made[short_way]

    return run


PROMPT = way("prompt", 7.5, steps=30, directional=0.5, rate=2e-3)
PLATES = way("plates", 4, steps=40, reconstruction=1.0, rate=2e-3)


@pytest.mark.parametrize("short_way", [PROMPT, PLATES, rival("plates", 40)], ids=["prompt", "plates", "rival"])
def test_a_short_adaptation_comes_nearer_to_its_goal_and_stays_diverse(short, models, source, short_way):
    pair, after, _ = short(short_way)
    before = measure(*pictures(pair, SEEDS)[[0, 0]], GOALS[short_way.goal], models, reference_seed=3)
    assert after.distance < 0.9 * before.distance and after.pixels < 0.95 * before.pixels
    assert after.diversity > 0.8
    assert after.kept > 0.4


def test_an_adaptation_is_the_same_each_time_and_another_with_another_seed(short, models, source, tmp_path):
    brief = replace(PLATES, settings=replace(PLATES.settings, steps=3))
    one, again, other = (
        adaptation.adapt(brief, source, models, tmp_path / name, seed) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    weights = [pair.module.synthesis.b16.conv1.weight for pair in (one, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_finished_adaptation_is_read_and_not_made_again(short, models, source, monkeypatch):
    pair, _, file = short(PLATES)
    monkeypatch.delattr(adaptation, "adapt_generator")
    again = adaptation.adapt(PLATES, source, models, file.parent, 5)
    assert torch.equal(again.module.synthesis.b16.conv1.weight, pair.module.synthesis.b16.conv1.weight)
    card = read_generator_file(file.with_name(f"{file.name}.safetensors")).card
    assert card.training["critic"] == {"domain": "plates", "weight": 4}


def test_what_the_table_calls_chosen_is_among_what_the_sweep_chose_from():
    swept = [(each.goal, each.strength, each.settings) for each in adaptation_runs.GRID]
    chosen = [each for each in adaptation_runs.WAYS if each.name in ("chosen", "one direction")]
    assert len(chosen) == 2 * len(GOALS)
    assert all((each.goal, each.strength, each.settings) in swept for each in chosen)


def test_the_table_has_every_way_after_its_goals_real_pictures_and_source(models, source, tmp_path, monkeypatch):
    ways = (way("prompt", 7.5, "brief", steps=1), rival("plates", 1, "other"))
    monkeypatch.setattr(adaptation_runs, "WAYS", ways)
    monkeypatch.setattr(adaptation_runs, "SEEDS", (0, 1))
    monkeypatch.setattr(adaptation_runs, "LATENTS", range(adaptation_runs.COLUMNS))
    shown = adaptation_runs.adaptations(models, source, tmp_path)
    names = [(each.goal, each.name) for each in shown]
    assert names == [
        (goal, name)
        for goal, last in (("prompt", "brief"), ("plates", "other"))
        for name in ("real pictures", "source", last)
    ]
    assert {file.stem for file in tmp_path.glob("*.safetensors")} == {
        each.file_name(seed) for each in ways for seed in (0, 1)
    }
    rows = 4  # real pictures are in the table alone
    assert adaptation_runs.picture(shown).height == adaptation_runs.picture(shown[1:2]).height + (rows - 1) * (72 + 6)


def test_the_mean_over_trainings_is_that_of_each_measure():
    mean = adaptation_runs.mean_of([found(0.1, 0.8), found(0.3, 0.6)])
    assert (mean.distance, mean.diversity, mean.kept) == pytest.approx((0.2, 0.7, 1.0))
