"""Pairs of pictures of two methods: estimates, their upper ends, and the rule for "not worse"."""

import pytest
import torch

from domain_guidance.evaluation.scores import kernel_distance, share
from domain_guidance.evidence.pairs import Loss, Paired, compare_pairs
from domain_guidance.toy_world import checkpoints
from domain_guidance.toy_world.comparison import every_prompt, held_out_as_asked, held_out_domain

ASKED = every_prompt(3)


@pytest.fixture(scope="module")
def judge():
    return checkpoints.load_judge()


@pytest.fixture(scope="module")
def plates():
    return held_out_as_asked(ASKED)


@pytest.fixture(scope="module")
def worse(plates):
    """A third of the plates are painted over."""
    changed = plates.clone()
    changed[::3] = torch.rand(changed[::3].shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return changed


def test_pictures_against_themselves_lose_nothing_but_what_no_pair_can_show(judge, plates):
    found = compare_pairs(judge, plates, plates.clone(), ASKED)
    assert found == Paired(Loss(0.0, 3 / len(ASKED)), Loss(0.0, 0.0), 1.0, len(ASKED))


def test_the_estimates_are_the_differences_of_what_each_way_gets_by_itself(judge, plates, worse):
    found = compare_pairs(judge, plates, worse, ASKED)
    reference = judge.read(held_out_domain(1000).images).features
    first, second = (judge.read(images) for images in (plates, worse))
    lost = share(first.digit, ASKED.digit) - share(second.digit, ASKED.digit)
    gained = kernel_distance(second.features, reference) - kernel_distance(first.features, reference)
    assert found.digits.found == pytest.approx(lost) and lost > 0.2
    assert found.distance.found == pytest.approx(gained, rel=1e-4)


def test_the_upper_ends_lie_above_the_estimates_and_nearer_with_more_pairs(judge, plates, worse):
    few = compare_pairs(judge, plates, worse, ASKED)
    several = every_prompt(12)
    many = compare_pairs(judge, plates.repeat(4, 1, 1, 1), worse.repeat(4, 1, 1, 1), several)
    for one, other in ((few.digits, many.digits), (few.distance, many.distance)):
        assert 0 < other.upper - other.found < 0.75 * (one.upper - one.found)


def test_the_upper_end_for_digits_is_that_of_a_normal_distribution_within_a_tenth(judge, plates, worse):
    found = compare_pairs(judge, plates, worse, ASKED)
    share_lost, count = found.digits.found, found.count
    first, second = ((judge.read(images).digit == ASKED.digit).double() for images in (plates, worse))
    deviation = (first - second).std().item() / count**0.5
    assert found.digits.upper - share_lost == pytest.approx(1.645 * deviation, rel=0.1)


@pytest.mark.parametrize(
    ("digits", "distance", "diversity", "holds"),
    [(0.02, 0.005, 0.97, True), (0.021, 0.0, 1.0, False), (0.0, 0.006, 1.0, False), (0.0, 0.0, 0.96, False)],
)
def test_the_rule_asks_for_all_three(digits, distance, diversity, holds):
    assert Paired(Loss(0.0, digits), Loss(0.0, distance), diversity, 2100).not_worse is holds


def test_prompts_that_were_drawn_once_are_refused_in_a_sentence(judge):
    once = every_prompt(1)
    images = held_out_as_asked(once)
    with pytest.raises(ValueError, match="draw each at least twice"):
        compare_pairs(judge, images, images, once)
