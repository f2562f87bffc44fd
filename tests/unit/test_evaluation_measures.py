"""Measures on features against slow independent versions, closed forms on Gaussians, and torch-fidelity where it is
installed.
"""

import itertools
import math
import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from domain_guidance.evaluation import (
    clip_score,
    cmmd,
    diversity,
    frechet_distance,
    gaussian,
    grouped_diversity,
    kernel_distance,
    kid,
    measure,
    memorisation,
    nearest,
    nearest_other,
    neighbours,
    polynomial,
    precision_recall,
    radii,
    split_half,
    squared_mmd,
)
from domain_guidance.evaluation.memorisation import at_least, describe


def normal(seed, count, width, mean=0.0, deviation=1.0):
    return mean + deviation * torch.randn(
        count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def naive_mmd(kernel, x, y, unbiased):
    """Gretton et al. 2012, equations 3 and 5, one pair at a time; x and y are lists of lists."""

    def mean(a, b, skip):
        values = [kernel(u, v) for i, u in enumerate(a) for j, v in enumerate(b) if not (skip and i == j)]
        return sum(values) / len(values)

    return mean(x, x, unbiased) + mean(y, y, unbiased) - 2 * mean(x, y, False)


def naive_distance(u, v):
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(u, v)))


def cubic(u, v):
    return (sum(a * b for a, b in zip(u, v)) / len(u) + 1) ** 3


# --- kernel distances ------------------------------------------------------------------------------------------------


def test_kid_equals_a_computation_pair_by_pair():
    x, y = normal(0, 7, 5), normal(1, 9, 5, mean=0.5)
    assert kid(x, y).value == pytest.approx(naive_mmd(cubic, x.tolist(), y.tolist(), unbiased=True), rel=1e-12)


def test_cmmd_equals_a_computation_pair_by_pair():
    x, y = normal(0, 7, 5), normal(1, 9, 5, mean=0.5)
    units = [
        [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in features.tolist()]
        for features in (x, y)
    ]
    expected = 1000 * naive_mmd(lambda u, v: math.exp(-(naive_distance(u, v) ** 2) / 200), *units, unbiased=False)
    assert cmmd(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mean, deviation", [(0.0, 1.0), (0.7, 1.0), (-0.3, 1.4)])
def test_kids_kernel_distance_of_normal_distributions_is_its_closed_form(mean, deviation):
    """In one dimension E(1 + xy)^3 is a sum of products of moments."""
    moments = {}
    for name, m, s in (("x", mean, deviation), ("y", 0.0, 1.0)):
        moments[name] = (1.0, m, m * m + s * s, m**3 + 3 * m * s * s)
    between = {
        pair: sum(math.comb(3, power) * moments[pair[0]][power] * moments[pair[1]][power] for power in range(4))
        for pair in ("xx", "yy", "xy")
    }
    expected = between["xx"] + between["yy"] - 2 * between["xy"]
    found = kid(normal(3, 1500, 1, mean, deviation), normal(4, 1500, 1), confidence=0.99, resamples=500)
    assert found.low <= expected <= found.high
    assert found.high - found.low < 1 + expected


def test_the_gaussian_kernels_distance_of_normal_distributions_is_its_closed_form():
    """E exp(-|x - y|² / 2 sigma²) = (1 + s² / sigma²)^(-D/2) exp(-m² / 2 (sigma² + s²)) for x - y of deviation s and
    mean m.
    """
    width, sigma, shift, deviation = 3, 1.5, 0.8, 1.3

    def expectation(variance, squared_mean):
        return (1 + variance / sigma**2) ** (-width / 2) * math.exp(-squared_mean / (2 * (sigma**2 + variance)))

    between = expectation(1 + deviation**2, width * shift**2)
    expected = expectation(2.0, 0.0) + expectation(2 * deviation**2, 0.0) - 2 * between
    found = squared_mmd(
        gaussian(sigma), normal(5, 3000, width), normal(6, 3000, width, shift, deviation), unbiased=True
    )
    assert found == pytest.approx(expected, rel=0.03)


def test_of_a_set_with_itself_the_biased_distance_is_zero_and_the_unbiased_one_below_by_a_known_amount():
    """k(x, x) is in the comparison of the sets and not in those within them."""
    x = normal(7, 40, 6)
    assert cmmd(x, x) == 0.0
    assert squared_mmd(polynomial, x, x, unbiased=False) == pytest.approx(0.0, abs=1e-12)
    kernel = (x @ x.T / 6 + 1) ** 3
    apart = (kernel.sum() - kernel.trace()) / (40 * 39)
    assert kid(x, x).value == pytest.approx((2 * apart - 2 * kernel.mean()).item()) and kid(x, x).value < 0


def test_kid_is_zero_on_average_for_two_draws_of_one_distribution():
    values = torch.tensor([kid(normal(2 * n, 20, 4), normal(2 * n + 1, 30, 4), resamples=2).value for n in range(400)])
    assert values.mean().abs() < 4 * values.std() / math.sqrt(400)
    assert values.std() > 0.05


def test_the_interval_holds_the_true_distance_as_often_as_it_says():
    """The truth is from a sample a hundred times as large."""
    truth = kid(normal(8, 6000, 3, mean=0.8), normal(9, 6000, 3), resamples=2).value
    found = [
        kid(normal(100 + n, 40, 3, mean=0.8), normal(900 + n, 60, 3), confidence=0.9, resamples=300, seed=n)
        for n in range(200)
    ]
    inside = sum(one.low <= truth <= one.high for one in found) / len(found)
    assert 0.82 <= inside <= 0.96  # 0.9, less what a bootstrap of 40 images loses, give or take 2.1 % twice


def test_the_interval_of_equal_distributions_errs_on_the_wide_side():
    found = [
        kid(normal(100 + n, 40, 3), normal(900 + n, 40, 3), confidence=0.9, resamples=300, seed=n) for n in range(200)
    ]
    assert sum(one.low <= 0 <= one.high for one in found) / len(found) >= 0.9


def test_the_widest_interval_ends_at_the_extremes_of_all_possible_draws():
    """Of four images there are 256 draws; an image that comes twice is not compared with itself, and one that comes
    four times has no pair.
    """
    x, y = normal(0, 4, 2).tolist(), normal(1, 4, 2, mean=1.0).tolist()

    def within(rows, draw):
        values = [cubic(rows[i], rows[j]) for i in draw for j in draw if i != j]
        return sum(values) / len(values)

    draws = [draw for draw in itertools.combinations_with_replacement(range(4), 4) if len(set(draw)) > 1]
    values = [
        within(x, a) + within(y, b) - 2 * sum(cubic(x[i], y[j]) for i in a for j in b) / 16
        for a, b in itertools.product(draws, draws)
    ]
    found = kid(torch.tensor(x), torch.tensor(y), confidence=1.0, resamples=40000)
    assert (found.low, found.high) == pytest.approx((min(values), max(values)))


def test_a_seed_gives_the_interval_again_and_a_narrower_one_has_less_confidence():
    x, y = normal(0, 30, 4), normal(1, 30, 4, mean=0.5)
    assert kid(x, y, seed=3) == kid(x, y, seed=3) != kid(x, y, seed=4)
    one, other = measure(x, y, seed=3), measure(x, y, seed=4)
    assert one.kid.low != other.kid.low and one.halves != other.halves and one.kid.value == other.kid.value
    wide, narrow = kid(x, y, confidence=0.99), kid(x, y, confidence=0.5)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


@pytest.mark.parametrize("ours, theirs", [(2, 2), (2, 60), (3, 60), (60, 3)])
def test_of_two_or_three_images_there_is_a_value_and_no_interval(ours, theirs):
    """Only those draws have a value in which two different images come up: of two images, nearly none that differ from
    the set.
    """
    x, y = normal(0, ours, 4), normal(1, theirs, 4, mean=3.0)
    found = kid(x, y)
    assert (
        found.value == pytest.approx(squared_mmd(polynomial, x, y, unbiased=True)) and found.low is found.high is None
    )
    measures = measure(x, y)
    assert measures.differs is None and (measures.halves is None) == (theirs < 4)


def test_of_four_images_there_is_an_interval():
    found = kid(normal(0, 4, 4), normal(1, 4, 4))
    assert found.low < found.value < found.high


@pytest.mark.parametrize("block", [7, 2048])
def test_the_interval_is_of_both_sets_drawn_anew_in_one_go_whatever_the_blocks(monkeypatch, block):
    """Drawn whole, counted and summed by hand, so that reports of different days can be compared."""
    monkeypatch.setattr(kernel_distance, "BLOCK", block)
    x, y, resamples = normal(0, 40, 8, mean=0.3), normal(1, 53, 8), 100
    generator = torch.Generator().manual_seed(5)
    sets, counts = [], []
    for features in (x, y):
        sets.append(features[features.sum(1).argsort()])
        draws = torch.randint(len(features), (len(features), resamples), generator=generator)
        counts.append(torch.stack([draw.bincount(minlength=len(features)) for draw in draws.T]).double())

    def mean(a, b):
        kernel = (sets[a] @ sets[b].T / 8 + 1) ** 3
        pairs = counts[a][:, :, None] * counts[b][:, None] * (1 - torch.eye(len(sets[a])) if a == b else 1.0)
        return (pairs * kernel).sum((1, 2)) / pairs.sum((1, 2))

    drawn = mean(0, 0) + mean(1, 1) - 2 * mean(0, 1)
    found = kid(x, y, resamples=resamples, confidence=0.8, seed=5)
    assert (found.low, found.high) == pytest.approx(
        drawn.quantile(torch.tensor([0.1, 0.9]).double()).tolist(), rel=1e-12
    )


class Memory(TorchDispatchMode):
    """The most bytes that tensors which were made within it held at once."""

    def __init__(self):
        super().__init__()
        self.held, self.peak = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.held.setdefault(storage.data_ptr(), [0, storage.nbytes()])[0] += 1
                weakref.finalize(tensor, self._forget, storage.data_ptr())
        self.peak = max(self.peak, sum(size for _, size in self.held.values()))
        return made

    def _forget(self, place):
        self.held[place][0] -= 1
        if not self.held[place][0]:
            del self.held[place]


def test_the_bootstrap_holds_each_sets_weights_once(monkeypatch):
    monkeypatch.setattr(kernel_distance, "BLOCK", 16)
    x, y, draws = normal(0, 400, 2), normal(1, 400, 2), 500
    with Memory() as memory:
        kid(x, y, resamples=draws)
    assert 800 * (1 + draws) * 8 < memory.peak < 1.2 * 800 * (1 + draws) * 8


def test_a_stop_is_heard_within_each_kernel_distance(monkeypatch):
    monkeypatch.setattr(kernel_distance, "BLOCK", 16)
    x, y = normal(0, 40, 4), normal(1, 40, 4)
    distances = [
        (
            lambda check: kid(x, y, resamples=3, check=check),
            6 + 9 + 6 + 6,
        ),  # blocks of both sets' draws, and of the matrix
        (lambda check: split_half(x, check=check), 6),
        (lambda check: cmmd(x, y, check=check), 3 * 9),
    ]
    for distance, blocks in distances:
        calls = []
        distance(lambda: calls.append(1))
        assert len(calls) == blocks
        last = len(calls)
        calls.clear()

        def stop():
            calls.append(1)
            if len(calls) == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            distance(stop)
    monkeypatch.setattr(kernel_distance, "BLOCK", 2048)
    few, many = [], []
    measure(x, y, check=lambda: few.append(1))
    monkeypatch.setattr(kernel_distance, "BLOCK", 16)
    measure(x, y, check=lambda: many.append(1))
    assert len(many) > len(few) + 20


@pytest.mark.parametrize("count", [4, 5])
def test_halves_of_a_set_lie_as_far_apart_as_kid_says_of_them(count):
    """Two images a half; of an odd number one is in neither."""
    x = normal(11, count, 3)
    rows = x.tolist()
    pairs = list(itertools.combinations(range(count), 2))
    values = [
        abs(naive_mmd(cubic, [rows[i] for i in a], [rows[i] for i in b], unbiased=True))
        for a in pairs
        for b in pairs
        if not {*a} & {*b}
    ]
    assert split_half(x, confidence=1.0) == pytest.approx(max(values))
    assert split_half(x, confidence=0.0) == pytest.approx(min(values))


# --- neighbours ------------------------------------------------------------------------------------------------------


def test_nearest_neighbours_are_those_that_one_finds_by_hand():
    x, y = normal(0, 12, 3), normal(1, 17, 3)
    found = nearest(x, y)
    for row, distance, index in zip(x.tolist(), found.distance.tolist(), found.index.tolist()):
        distances = [naive_distance(row, other) for other in y.tolist()]
        assert index == distances.index(min(distances)) and distance == pytest.approx(min(distances))
    rows = y.tolist()
    own = [min(naive_distance(a, b) for j, b in enumerate(rows) if i != j) for i, a in enumerate(rows)]
    assert nearest_other(y).tolist() == pytest.approx(own)


def test_precision_and_recall_equal_a_computation_from_their_definition():
    x, y, k = normal(0, 25, 3, mean=0.6), normal(1, 31, 3), 3

    def covered(a, b):
        reach = [sorted(naive_distance(u, v) for v in b)[k] for u in b]  # place 0 is the image itself
        return sum(any(naive_distance(u, v) <= r for v, r in zip(b, reach)) for u in a) / len(a)

    found = precision_recall(x, y, k)
    assert found.precision == pytest.approx(covered(x.tolist(), y.tolist()))
    assert found.recall == pytest.approx(covered(y.tolist(), x.tolist()))
    assert 0 < found.precision < 1 and 0 < found.recall < 1


def test_samples_of_one_kind_of_two_are_precise_and_recall_half():
    kinds = [normal(2, 50, 4), normal(3, 50, 4, mean=100.0)]
    found = precision_recall(normal(4, 50, 4, deviation=0.3), torch.cat(kinds))
    assert found.precision == 1.0 and 0.0 < found.recall <= 0.5
    far = precision_recall(normal(4, 50, 4, mean=-100.0), torch.cat(kinds))
    assert far.precision == far.recall == 0.0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_set_with_itself_is_at_no_distance_and_wholly_covered(scale):
    """In single precision and far from the origin, where |a|² + |b|² - 2 a·b does not vanish by itself."""
    x = (scale * normal(5, 60, 64, mean=3.0)).float()
    found = nearest(x, x)
    assert found.distance.eq(0).all() and torch.equal(found.index, torch.arange(60))
    doubled = torch.cat((x, x, x, x, x))
    for features in (x, doubled):
        both = precision_recall(features, features)
        assert both.precision == both.recall == 1.0
    assert nearest_other(doubled).eq(0).all() and nearest_other(x).gt(0).all()


def test_images_that_nearly_equal_each_other_are_still_told_apart():
    x = normal(5, 30, 64, mean=3.0)
    step = 1e-5 * normal(6, 30, 64)
    found = nearest(x, x + step)
    assert found.distance.tolist() == pytest.approx(step.norm(dim=1).tolist(), rel=1e-3)


def test_diversity_is_the_mean_over_pairs_of_different_images():
    x = normal(0, 9, 4)
    pairs = [naive_distance(a, b) for a, b in itertools.combinations(x.tolist(), 2)]
    assert diversity(x) == pytest.approx(sum(pairs) / len(pairs))
    assert diversity(normal(1, 3000, 1, deviation=2.0)) == pytest.approx(2 * 2.0 / math.sqrt(math.pi), rel=0.03)
    assert diversity(torch.ones(5, 3)) == 0.0


def test_diversity_in_groups_is_that_of_each_group_by_itself():
    near, wide = normal(0, 6, 4, deviation=0.1), normal(1, 8, 4, mean=5.0)
    groups = torch.tensor([4] * 6 + [7] * 8 + [9])  # a group of one has no pair
    mean, deviation = grouped_diversity(torch.cat((near, wide, normal(2, 1, 4))), groups)
    assert mean == pytest.approx((diversity(near) + diversity(wide)) / 2)
    assert deviation == pytest.approx(abs(diversity(wide) - diversity(near)) / math.sqrt(2))
    with pytest.raises(ValueError, match="None of the 2 groups has two images"):
        grouped_diversity(normal(0, 2, 4), torch.tensor([0, 1]))


def test_no_measure_depends_on_the_order_of_the_images():
    x, y = normal(0, 40, 8, mean=0.3).float(), normal(1, 50, 8).float()
    shuffle, other = (torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in (40, 50))
    a, b = measure(x, y), measure(x[shuffle], y[other])
    for read in (
        lambda m: m.kid.value,
        lambda m: m.kid.low,
        lambda m: m.kid.high,
        lambda m: m.halves,
        lambda m: m.cmmd,
        lambda m: m.diversity,
        lambda m: m.reference_diversity,
    ):
        assert read(a) == pytest.approx(read(b), rel=1e-9)
    assert a.precision_recall == b.precision_recall and a.memorisation == b.memorisation
    assert torch.equal(a.nearest.distance[shuffle], b.nearest.distance)
    assert torch.equal(a.nearest.index[shuffle], other[b.nearest.index])


def test_blocks_change_nothing(monkeypatch):
    x, y = normal(0, 40, 8, mean=0.3), normal(1, 53, 8)
    whole = measure(x, y)
    monkeypatch.setattr(kernel_distance, "BLOCK", 7)
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    parts = measure(x, y)
    assert parts.kid.value == pytest.approx(whole.kid.value) and parts.kid.low == pytest.approx(whole.kid.low)
    assert parts.cmmd == pytest.approx(whole.cmmd) and parts.halves == pytest.approx(whole.halves)
    assert parts.precision_recall == whole.precision_recall and parts.diversity == pytest.approx(whole.diversity)
    assert torch.equal(parts.nearest.index, whole.nearest.index)
    assert torch.allclose(
        radii(y, 3),
        torch.tensor([sorted(naive_distance(a, b) for b in y.tolist())[3] for a in y.tolist()], dtype=torch.float64),
    )


# --- memorisation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples, rank, references", [(5, 1, 20), (30, 3, 60), (200, 5, 100)])
def test_the_probability_of_close_images_counts_orders(samples, rank, references):
    """Where samples + references values are in any order equally often, orders with k samples below the rank-th
    reference count.
    """
    orders = math.comb(samples + references, samples)
    exactly = [
        math.comb(k + rank - 1, k) * math.comb(samples - k + references - rank, samples - k) / orders
        for k in range(samples + 1)
    ]
    for k in (0, 1, 3, samples):
        assert at_least(k, samples, rank, references) == pytest.approx(sum(exactly[k:]), rel=1e-6, abs=1e-12)


def test_fresh_images_of_the_same_kind_are_suspected_as_rarely_as_chance_allows():
    suspected = 0
    for n in range(300):
        reference, fresh = normal(n, 80, 8), normal(5000 + n, 60, 8)
        suspected += memorisation(nearest(fresh, reference).distance, nearest_other(reference)).is_suspected
    assert suspected <= 9  # 1 % of 300, and three standard deviations


def test_images_that_crowd_around_the_reference_are_suspected():
    reference = normal(0, 80, 8)
    crowd = reference[:30] + normal(1, 30, 8, deviation=0.15)
    samples = torch.cat((crowd, normal(2, 70, 8)))
    found = memorisation(nearest(samples, reference).distance, nearest_other(reference))
    assert found.is_suspected and found.close >= 30
    assert describe(found).startswith("Memorisation is suspected") and "of 100 images" in describe(found)


def test_a_single_copy_is_named_even_where_twins_in_the_reference_lie_as_near():
    reference = torch.cat((normal(0, 80, 8), normal(0, 80, 8)[:3]))  # three doubles
    fresh = normal(1, 50, 8)
    clean = memorisation(nearest(fresh, reference).distance, nearest_other(reference))
    copied = memorisation(nearest(torch.cat((fresh, reference[:1])), reference).distance, nearest_other(reference))
    assert not clean.is_suspected and clean.copies == 0 and clean.twins == 6
    assert copied.is_suspected and copied.copies == 1
    assert "1 image lies at less than half" in describe(
        copied
    ) and "6 of 83 reference images have an exact twin" in describe(copied)


def test_with_few_reference_images_memorisation_cannot_be_told():
    reference = normal(0, 19, 8)
    assert memorisation(nearest(reference, reference).distance, nearest_other(reference)) is None
    assert "fewer than 20" in describe(None)


# --- clip score, Fréchet distance ------------------------------------------------------------------------------------


def test_the_clip_score_is_the_mean_cosine_in_percent_with_opposites_at_zero():
    images = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [-1.0, 0.0]])
    assert clip_score(images, torch.tensor([[5.0, 0.0]])) == pytest.approx(100 * (1 + 0 + math.sqrt(0.5) + 0) / 4)
    assert clip_score(images, images) == pytest.approx(100.0)


def test_without_torch_fidelity_the_frechet_distance_says_what_to_do(monkeypatch):
    from domain_guidance.evaluation import fidelity

    monkeypatch.setattr(fidelity, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError,
        match="needs the package torch-fidelity, which is not installed: install it, or leave the option off",
    ):
        frechet_distance(normal(0, 10, 4), normal(1, 10, 4))


def test_measures_agree_with_torch_fidelity_on_the_same_features():
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    x, y = normal(0, 200, 32), normal(1, 200, 32, mean=0.2, deviation=1.2)
    # A subset as large as the set is the whole set, in another order.
    theirs = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=200, verbose=False)[KEY_METRIC_KID_MEAN]
    assert kid(x, y).value == pytest.approx(theirs, rel=1e-4)
    precision = pytest.importorskip(
        "torch_fidelity.metric_prc", reason="torch-fidelity 0.4 brought precision and recall"
    )
    found = precision.prc_features_to_metric(x, y, prc_neighborhood=3, prc_batch_size=64, verbose=False)
    ours = precision_recall(x, y)
    assert (ours.precision, ours.recall) == pytest.approx((found["precision"], found["recall"]), abs=1e-4)
    assert 0 < ours.precision < 1


def test_the_frechet_distance_of_normal_distributions_is_its_closed_form():
    """|m|² + D (s - 1)² for deviations s and 1; of a set with itself 0, and for few images above the truth."""
    pytest.importorskip("torch_fidelity")
    x, y = normal(0, 20000, 4, mean=0.5, deviation=1.5), normal(1, 20000, 4)
    assert frechet_distance(x, y) == pytest.approx(4 * 0.5**2 + 4 * 0.5**2, rel=0.03)
    assert frechet_distance(y, y) == pytest.approx(0.0, abs=1e-9)
    few = np.mean([frechet_distance(normal(2 * n, 30, 4), normal(2 * n + 1, 30, 4)) for n in range(20)])
    assert few > 0.05


# --- refusals --------------------------------------------------------------------------------------------------------


def test_too_few_images_are_refused_in_a_sentence():
    one, many = normal(0, 1, 4), normal(1, 10, 4)
    for call, words in [
        (lambda: kid(one, many), "between 1 and 10 images"),
        (lambda: squared_mmd(polynomial, many, one, unbiased=False), "between 10 and 1 images"),
        (lambda: split_half(normal(0, 3, 4)), "has 3 images: give at least 4"),
        (lambda: diversity(one), "the set has 1: give at least 2"),
        (lambda: precision_recall(normal(0, 3, 4), many), "has 3 images, expected more than the 3 neighbours"),
        (lambda: measure(one, many), r"\[1, 4\] of the images and \[10, 4\] of the reference"),
        (lambda: measure(normal(0, 10, 5), many), "and the same width"),
    ]:
        with pytest.raises(ValueError, match=words) as caught:
            call()
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
