"""The oracles of the general form (arXiv 2312.08195), on models whose answers are known in closed form."""

import math

import pytest
import torch

from domain_guidance.diffusion.parameterization import add_noise, denoised, network_input, training_target
from domain_guidance.diffusion.sampling import karras_sigmas, sample_dpmpp_2m, sample_euler, sample_euler_ancestral
from domain_guidance.guidance import GuidedDenoiser, Projection, SigmaInterval, Term, compose, schedule

EMPTY, PROMPT = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)


class Counted:
    """A denoiser with a fixed answer per conditioning, that counts its calls."""

    def __init__(self, seed):
        self.seed, self.calls = seed, 0

    def __call__(self, x, sigma, conditioning):
        self.calls += 1
        told = 0 if conditioning is None else int(conditioning.sum())
        return torch.randn(x.shape, generator=torch.Generator().manual_seed(100 * self.seed + told), dtype=x.dtype)


class Gaussian:
    """The exact denoiser of N(mean, variance): the posterior mean of x0 given x = x0 + sigma * noise."""

    def __init__(self, mean, variance):
        self.mean, self.variance = mean, variance

    def __call__(self, x, sigma, conditioning=None):
        s = sigma.reshape(-1, 1, 1, 1) ** 2
        return (self.variance * x + s * self.mean) / (self.variance + s)


@pytest.fixture
def x():
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def sigma():
    return torch.tensor([2.0, 2.0], dtype=torch.float64)


def test_weight_zero_is_plain_guidance_bit_for_bit_and_the_domain_model_never_runs(x, sigma):
    base, domain = Counted(1), Counted(2)
    guided = GuidedDenoiser(base, domain, EMPTY, weight=0.0, cfg=3.0)(x, sigma, PROMPT)
    reference = base(x, sigma, EMPTY)
    assert torch.equal(guided, compose(reference, [Term(base(x, sigma, PROMPT), reference, 3.0)]))
    assert domain.calls == 0


def test_weight_one_without_prompt_is_the_domain_model_itself(x, sigma):
    domain = Counted(2)
    guided = GuidedDenoiser(Counted(1), domain, EMPTY, weight=1.0, cfg=0.0)(x, sigma, PROMPT)
    torch.testing.assert_close(guided, domain(x, sigma, None), rtol=0, atol=1e-12)


def test_the_control_weight_alone_is_classifier_free_guidance(x, sigma):
    base = Counted(1)
    guided = GuidedDenoiser(base, Counted(2), EMPTY, weight=0.0, cfg=7.5)(x, sigma, PROMPT)
    uncond, cond = base(x, sigma, EMPTY), base(x, sigma, PROMPT)
    torch.testing.assert_close(guided, uncond + 7.5 * (cond - uncond), rtol=0, atol=1e-12)


def test_a_domain_model_that_is_the_base_on_the_empty_prompt_changes_nothing(x, sigma):
    base = Counted(1)
    plain = GuidedDenoiser(base, base, EMPTY, weight=0.0)(x, sigma, PROMPT)
    assert torch.equal(
        GuidedDenoiser(base, base, EMPTY, domain_conditioning=EMPTY, weight=2.5)(x, sigma, PROMPT), plain
    )


def test_the_base_with_the_prompt_as_domain_adds_its_weight_to_cfg(x, sigma):
    base = Counted(1)
    fed = GuidedDenoiser(base, base, EMPTY, domain_conditioning=PROMPT, weight=2.0, cfg=3.0)(x, sigma, PROMPT)
    plain = GuidedDenoiser(base, base, EMPTY, weight=0.0, cfg=5.0)(x, sigma, PROMPT)
    torch.testing.assert_close(fed, plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("conditioning", "evaluations"), [(None, 2), (PROMPT, 3)], ids=["unconditional", "with a prompt"]
)
def test_unconditional_sampling_costs_two_evaluations_and_a_prompt_one_more(x, sigma, conditioning, evaluations):
    base, domain = Counted(1), Counted(2)
    GuidedDenoiser(base, domain, EMPTY)(x, sigma, conditioning)
    assert base.calls + domain.calls == evaluations


def test_terms_of_any_number_and_sign_equal_the_weighted_sum_of_the_paper(x):
    predictions = [torch.randn_like(x) for _ in range(5)]
    base, weights = torch.randn_like(x), [2.5, -1.0, 0.3, 4.0, -0.7]
    composed = compose(base, [Term(p, base, w) for p, w in zip(predictions, weights)])
    expected = (1 - sum(weights)) * base + sum(w * p for w, p in zip(weights, predictions))
    torch.testing.assert_close(composed, expected, rtol=0, atol=1e-12)


def test_two_complementary_masks_make_the_whole_term(x):
    mask = (torch.rand_like(x[:, :1]) > 0.5).to(x)
    prediction, reference = torch.randn_like(x), torch.randn_like(x)
    halves = compose(x, [Term(prediction, reference, 2.0, mask), Term(prediction, reference, 2.0, 1 - mask)])
    torch.testing.assert_close(halves, compose(x, [Term(prediction, reference, 2.0)]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "other"), [("epsilon", "v_prediction"), ("flow", "flow")])
def test_guidance_in_network_space_equals_guidance_in_denoised_space(x, sigma, kind, other):
    """The coefficients sum to 1, so the space does not matter, as long as x and sigma are the same."""
    sigma = sigma / 4 if kind == "flow" else sigma
    for space in {kind, other}:
        outputs = [torch.randn_like(x) for _ in range(3)]
        in_network_space = compose(outputs[0], [Term(outputs[1], outputs[0], 2.0), Term(outputs[2], outputs[0], 1.5)])
        d = [denoised(output, x, sigma, space) for output in outputs]
        in_denoised_space = compose(d[0], [Term(d[1], d[0], 2.0), Term(d[2], d[0], 1.5)])
        torch.testing.assert_close(denoised(in_network_space, x, sigma, space), in_denoised_space, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow"])
def test_a_network_that_hits_its_training_target_denoises_exactly(x, kind):
    noise, sigma = torch.randn_like(x), torch.tensor([0.3, 0.9], dtype=torch.float64)
    noisy = add_noise(x, noise, sigma, kind)
    target = training_target(x, noise, sigma, kind)
    torch.testing.assert_close(denoised(target, noisy, sigma, kind), x, rtol=0, atol=1e-12)


def test_the_networks_input_has_unit_variance_for_unit_data_and_flow_is_left_alone():
    x0, noise = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(3)).chunk(2)
    sigma = torch.tensor([5.0])
    assert network_input(add_noise(x0, noise, sigma, "epsilon"), sigma, "epsilon").std() == pytest.approx(1, abs=0.01)
    assert network_input(x0, sigma, "flow") is x0


@pytest.mark.parametrize(
    ("weights", "precision", "mean"),
    [((1.0, 0.0), 1.0, 2.0), ((1.0, 1.0), 1.1389, 1.9756), ((2.5, 2.5), 2.6806, 2.0984)],
)
def test_composed_gaussians_have_the_precision_and_mean_of_their_product(weights, precision, mean):
    """p = N(0, 9), domain N(2, 1), control N(1, 4), worked out by hand, as sigma goes to 0."""
    base, domain, control = Gaussian(0, 9), Gaussian(2, 1), Gaussian(1, 4)
    sigma = torch.tensor([1e-3], dtype=torch.float64)

    def composed(value):
        x = torch.full((1, 1, 1, 1), value, dtype=torch.float64)
        reference = base(x, sigma)
        terms = [Term(model(x, sigma), reference, w) for model, w in zip((domain, control), weights)]
        return ((compose(reference, terms) - x) / sigma**2).item()  # the score

    slope = composed(1.0) - composed(0.0)
    assert -slope == pytest.approx(precision, abs=1e-4)
    assert composed(0.0) / precision == pytest.approx(mean, abs=1e-3)


def test_too_large_weights_on_a_narrow_prior_have_no_product():
    """An honest failure: the composed precision is negative, and the score pushes away from the mean."""
    base, domain = Gaussian(0, 0.5), Gaussian(0, 1)
    x, sigma = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.tensor([1e-3], dtype=torch.float64)
    reference = base(x, sigma)
    assert compose(reference, [Term(domain(x, sigma), reference, 3.0)]) > x


def test_the_interval_switches_the_domain_off_outside_and_it_does_not_run_there(x):
    base, domain = Counted(1), Counted(2)
    guided = GuidedDenoiser(base, domain, EMPTY, interval=SigmaInterval(5.0, 1.0))
    plain = GuidedDenoiser(base, domain, EMPTY, weight=0.0)
    for level in (6.0, 0.5):
        sigma = torch.full((2,), level, dtype=torch.float64)
        assert torch.equal(guided(x, sigma, PROMPT), plain(x, sigma, PROMPT))
    assert domain.calls == 0
    assert not torch.equal(guided(x, torch.full((2,), 5.0), PROMPT), plain(x, torch.full((2,), 5.0), PROMPT))


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (0.5, 2.0)])
def test_an_empty_interval_is_refused_in_words(start, end):
    with pytest.raises(ValueError, match=r"interval is empty.*set the start percent below the end percent\.$"):
        SigmaInterval(start, end)


def test_projection_zero_leaves_the_difference_orthogonal_to_the_prediction(x):
    difference, prediction = torch.randn_like(x), torch.randn_like(x)
    shaped = Projection(parallel=0.0)(difference, prediction)
    assert (shaped * prediction).flatten(1).sum(1).abs().max() < 1e-10
    # Pythagoras: only the parallel part is gone.
    removed = difference - shaped
    torch.testing.assert_close(
        (shaped**2 + removed**2).flatten(1).sum(1), (difference**2).flatten(1).sum(1), rtol=1e-10, atol=0
    )


def test_a_difference_along_the_prediction_is_scaled_by_what_is_kept_of_it(x):
    torch.testing.assert_close(Projection(parallel=0.25)(3 * x, x), 0.75 * x, rtol=0, atol=1e-12)


def test_the_norm_cap_shortens_long_differences_image_by_image_and_leaves_short_ones(x):
    difference = torch.stack([x[0] / x[0].norm() * 10, x[1] / x[1].norm() * 0.1])
    capped = Projection(norm_cap=2.0)(difference, x)
    torch.testing.assert_close(capped[0], difference[0] / 5, rtol=0, atol=1e-12)
    torch.testing.assert_close(capped[1], difference[1], rtol=0, atol=1e-12)
    assert torch.equal(Projection(norm_cap=2.0)(torch.zeros_like(x), x), torch.zeros_like(x))


def test_projection_switched_off_is_the_identity(x):
    assert Projection().is_identity
    assert torch.equal(Projection()(x, torch.randn_like(x)), x)


def test_predictions_of_different_shapes_are_refused_in_words(x):
    with pytest.raises(ValueError, match=r"\[2, 3, 4, 4\] and a reference of shape \[2, 3, 2, 4\].*\.$"):
        Term(x, x[:, :, :2], 1.0)


@pytest.mark.parametrize("sampler", [sample_euler, sample_dpmpp_2m])
def test_the_samplers_carry_noise_to_the_gaussian_that_the_denoiser_knows(sampler):
    """The probability flow of N(m, v) is known: x0 = m + (x - m) sqrt(v / (v + sigma_max²))."""
    model, sigmas = Gaussian(2.0, 0.25), karras_sigmas(400, 0.002, 80.0).double()
    x = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * sigmas[0]
    exact = 2.0 + (x - 2.0) * math.sqrt(0.25 / (0.25 + sigmas[0] ** 2))
    torch.testing.assert_close(sampler(model, x, sigmas), exact, rtol=0, atol=2e-2)


@pytest.mark.parametrize(("sampler", "order"), [(sample_euler, 1), (sample_dpmpp_2m, 2)])
def test_halving_the_step_size_divides_the_error_by_two_to_the_order(sampler, order):
    model, errors = Gaussian(2.0, 0.25), []
    for steps in (200, 400):
        sigmas = karras_sigmas(steps, 0.002, 80.0).double()
        x = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * sigmas[0]
        exact = 2.0 + (x - 2.0) * math.sqrt(0.25 / (0.25 + sigmas[0] ** 2))
        errors.append(float((sampler(model, x, sigmas) - exact).norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_ancestral_steps_end_in_the_gaussian_that_the_denoiser_knows_and_forget_where_they_began():
    model, sigmas = Gaussian(2.0, 0.25), karras_sigmas(400, 0.002, 80.0).double()
    start = torch.full((20000, 1, 1, 1), 3.0, dtype=torch.float64) * sigmas[0]
    drawn = sample_euler_ancestral(model, start, sigmas, torch.Generator().manual_seed(1))
    assert float(drawn.mean()) == pytest.approx(2.0, abs=0.02)
    assert float(drawn.std()) == pytest.approx(0.5, abs=0.02)


def test_a_constant_schedule_of_one_is_exactly_one_everywhere():
    assert all(schedule.constant()(share) == 1.0 for share in (0.0, 0.1, 1 / 3, 0.999999, 1.0))
    assert schedule.constant(-0.3)(0.7) == -0.3


def test_an_interval_is_its_factor_from_its_start_to_before_its_end_and_zero_outside():
    inside = schedule.interval(0.2, 0.6, 1.5)
    assert [inside(share) for share in (0.0, 0.199, 0.2, 0.4, 0.599, 0.6, 1.0)] == [0, 0, 1.5, 1.5, 1.5, 0, 0]
    assert schedule.interval(0.6, 1.0)(1.0) == 1.0


@pytest.mark.parametrize("share", [0.2, 0.3, 0.45, 0.6])
def test_a_line_and_a_cosine_go_through_their_closed_forms(share):
    done = (share - 0.2) / 0.4
    assert schedule.linear(2.0, -1.0, 0.2, 0.6)(share) == pytest.approx(2.0 - 3.0 * done)
    assert schedule.cosine(2.0, -1.0, 0.2, 0.6)(share) == pytest.approx(0.5 + 1.5 * math.cos(math.pi * done))


@pytest.mark.parametrize("shape", [schedule.linear, schedule.cosine])
def test_a_shape_holds_its_ends_before_and_after(shape):
    made = shape(0.25, 2.0, 0.3, 0.5)
    assert (made(0.0), made(0.3), made(0.5), made(1.0)) == (0.25, 0.25, 2.0, 2.0)


def test_a_list_passes_through_its_numbers_at_equal_distances_and_is_straight_between():
    made = schedule.listed([1.0, 0.0, 4.0, -2.0, 3.0], 0.2, 1.0)
    assert [made(share) for share in (0.2, 0.4, 0.6, 0.8, 1.0)] == pytest.approx([1, 0, 4, -2, 3])
    assert made(0.5) == pytest.approx(2.0) and made(0.7) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedule.interval(0.6, 0.6), "below the end percent"),
        (lambda: schedule.linear(1, 0, -0.1, 0.5), "between 0 and 1"),
        (lambda: schedule.listed([]), "one finite number"),
        (lambda: schedule.constant(math.nan), "one finite number"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_in_one_sentence(make, words):
    with pytest.raises(ValueError, match=words) as refused:
        make()
    assert str(refused.value).endswith(".") and "\n" not in str(refused.value)


def test_the_share_of_a_noise_level_is_the_inverse_of_the_hosts_percent():
    """A falling curve with the host's jumps at its two ends."""

    def sigma_at(share):
        return math.inf if share <= 0 else 0.0 if share >= 1 else 14.6 * math.exp(-6.2 * share)

    for share in (1e-4, 0.25, 0.3, 0.7777, 0.99):
        assert schedule.share_of(sigma_at(share), sigma_at) == share
    assert schedule.share_of(20.0, sigma_at) == 0.0 and schedule.share_of(0.0, sigma_at) == 1.0


def test_the_share_of_a_flow_models_level_counts_down_from_one():
    assert [schedule.share_of(level, lambda share: 1.0 - share) for level in (1.0, 0.75, 0.5, 0.0)] == [
        0.0,
        0.25,
        0.5,
        1.0,
    ]
