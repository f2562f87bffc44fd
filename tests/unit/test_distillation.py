"""Score distillation against a slow reference in the paper's own terms: noise, alphas and one picture at a time."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from domain_guidance.adaptation import AdaptationSettings
from domain_guidance.diffusion.noise_schedule import NoiseSchedule, scaled_linear
from domain_guidance.diffusion.parameterization import denoised, network_input
from domain_guidance.distillation import (
    BatchedGuidance,
    Distillation,
    NoiseRange,
    clip_to_percentile,
    critic_pixels,
    directional_gradient,
    distill,
    likelihood_gradient,
    noise_ratio,
    reconstruction_gradient,
    relative_distance_loss,
    score_gradient,
    unit_rms,
)
from domain_guidance.guidance import GuidedDenoiser
from domain_guidance.runs import Share
from domain_guidance.runs.same_run import settings_identity

KINDS = ("epsilon", "v_prediction", "flow")
FLOW = NoiseSchedule(torch.linspace(0.001, 0.999, 1000))
SIZE, LATENT = 16, (4, 4, 4)


class Network(nn.Module):
    """A fixed non-linear map of noisy latent, noise level and prompt, like no denoiser and so without symmetry to hide
    behind.
    """

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(7)
        self.kind, self.calls = kind, []
        self.mix = nn.Conv2d(4, 4, 3, padding=1)
        self.read = nn.Linear(6, 4)

    def output(self, x, sigma, prompt):
        text = self.read(prompt.mean(dim=1))[:, :, None, None]
        scaled = network_input(x, sigma, self.kind)
        return torch.tanh(self.mix(scaled) + text) * (1 + sigma.log().sin()[:, None, None, None])

    def forward(self, x, sigma, prompt):
        self.calls.append(len(x))
        assert not torch.is_grad_enabled()
        return denoised(self.output(x, sigma, prompt.expand(len(x), -1, -1)), x, sigma, self.kind)


class Encoder:
    def __init__(self):
        torch.manual_seed(11)
        self.conv, self.calls = nn.Conv2d(3, 4, 4, stride=4).requires_grad_(False), []

    def __call__(self, pixels):
        self.calls.append(len(pixels))
        return 0.5 * torch.sin(3 * self.conv(pixels))


def schedule_of(kind):
    return FLOW if kind == "flow" else scaled_linear()


def critic_of(kind, denoise, encode):
    return SimpleNamespace(denoise=denoise, encode=encode, schedule=schedule_of(kind), prediction=kind)


def scene(kind, count=1, **settings):
    torch.manual_seed(3)
    network = Network(kind)
    prompt, empty = torch.randn(1, 5, 6), torch.randn(1, 5, 6)
    images, source = torch.randn(2, count, 3, SIZE, SIZE) * 0.7
    return (
        network,
        BatchedGuidance(network, prompt, empty, cfg=7.0),
        images.requires_grad_(),
        source,
        Distillation(resolution=SIZE, **settings),
    )


def run(kind, count=1, seed=5, **settings):
    network, critic, images, source, chosen = scene(kind, count, **settings)
    encoder = Encoder()
    loss, found = distill(images, source, critic_of(kind, critic, encoder), chosen, torch.Generator().manual_seed(seed))
    (gradient,) = torch.autograd.grad(loss, images)
    return gradient, network, encoder, found


def reference(kind, count=1, seed=5, **settings):
    """METHOD's formulas, in noise space, image by image and term by term."""
    network, critic, images, source, chosen = scene(kind, count, **settings)
    encoder, schedule = Encoder(), schedule_of(kind)
    generator = torch.Generator().manual_seed(seed)
    timesteps = chosen.noise.timesteps(count, schedule, generator)
    noises = torch.randn(count, *LATENT, generator=generator)
    gradients = [
        _reference_of_one(
            kind,
            network,
            critic,
            images[i : i + 1].detach(),
            source[i : i + 1],
            encoder,
            schedule.sigmas[timesteps[i]],
            noises[i : i + 1],
            chosen,
        )
        for i in range(count)
    ]
    return torch.cat(gradients) / count


def _reference_of_one(kind, network, critic, image, source, encoder, sigma, noise, s):
    # alpha and sigma of the variance-preserving form; a flow model is brought to it by its ratio.
    ratio = sigma / (1 - sigma) if kind == "flow" else sigma
    alpha_bar = 1 / (1 + ratio**2)
    pixels = image.clamp(-1, 1).requires_grad_()
    z = encoder(pixels)
    z_source = encoder(source.clamp(-1, 1))

    def guided_noise(clean):
        noisy = (1 - sigma) * clean + sigma * noise if kind == "flow" else clean + sigma * noise
        with torch.no_grad():
            e = [_noise_of(network, kind, noisy, sigma, text) for text in (critic.empty, critic.prompt)]
        return e[0] + critic.cfg * (e[1] - e[0])

    estimate = guided_noise(z.detach())
    x0 = (
        alpha_bar.sqrt() * z.detach() + (1 - alpha_bar).sqrt() * noise - (1 - alpha_bar).sqrt() * estimate
    ) / alpha_bar.sqrt()
    target = estimate if s.score == "likelihood" else estimate - noise
    if s.unit_score:
        unit = estimate / estimate.square().mean().sqrt()
        target = unit if s.score == "likelihood" else unit - noise / noise.square().mean().sqrt()
    score = (s.scale * (1 - alpha_bar) * target).clamp(-1, 1)
    (score_pixels,) = torch.autograd.grad(z, pixels, score, retain_graph=True)
    flat = score_pixels.abs().flatten().sort().values
    limit = flat[round(s.percentile * len(flat)) - 1]
    total = score_pixels.clamp(-limit, limit)
    if s.directional:
        other = guided_noise(z_source.detach())
        a, b = (
            (estimate / estimate.square().mean().sqrt(), other / other.square().mean().sqrt())
            if s.unit_directional
            else (estimate, other)
        )
        g = (s.scale * s.directional * (1 - alpha_bar) * (a - b)).clamp(-1, 1)
        total = total + torch.autograd.grad(z, pixels, g, retain_graph=True)[0]
    if s.reconstruction:
        difference = x0 - z_source
        g = estimate / estimate.square().mean().sqrt() + difference / difference.square().mean().sqrt()
        g = (s.scale * s.reconstruction * (1 - alpha_bar) * g).clamp(-1, 1)
        total = total + torch.autograd.grad(z, pixels, g, retain_graph=True)[0]
    return total * (image.abs() <= 1)


def _noise_of(network, kind, noisy, sigma, text):
    """The noise in a network's raw output, from each kind's definition."""
    output = network.output(noisy, sigma[None], text)
    if kind == "epsilon":
        return output
    if kind == "flow":  # output = noise - clean, noisy = clean + sigma output
        return noisy + (1 - sigma) * output
    alpha, spread = 1 / (1 + sigma**2).sqrt(), sigma / (1 + sigma**2).sqrt()
    return alpha * output + spread * (noisy * alpha)  # v = alpha noise - spread clean


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"score": "likelihood"},
        {"directional": 1.0},
        {"directional": 0.5, "unit_directional": True},
        {"unit_score": True},
        {"unit_score": True, "score": "likelihood"},
        {"directional": 0.5, "unit_score": True, "unit_directional": True, "percentile": 1.0, "scale": 0.3},
        {"reconstruction": 2.0, "scale": 0.3},
        {"reconstruction": 1.0},
        {"directional": 0.7, "reconstruction": 0.5, "percentile": 1.0},
    ],
    ids=lambda s: "+".join(s) or "score",
)
@pytest.mark.parametrize("count", [1, 3])
def test_the_gradient_is_the_papers_for_every_kind_of_model(kind, settings, count):
    settings = {"noise": NoiseRange(0.05, 0.6), **settings}
    ours, *_ = run(kind, count, **settings)
    theirs = reference(kind, count, **settings)
    assert theirs.abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_without_regularisers_one_picture_costs_one_encoding_and_one_critic_call():
    _, network, encoder, _ = run("epsilon", 3)
    assert encoder.calls == [3]
    assert network.calls == [2 * 3]


def test_a_directional_regulariser_adds_one_encoding_and_no_further_critic_call():
    _, network, encoder, _ = run("epsilon", 3, directional=1.0)
    assert encoder.calls == [3, 3]
    assert network.calls == [2 * 2 * 3]


def test_a_reconstruction_regulariser_never_asks_the_critic_of_the_source():
    _, network, encoder, _ = run("epsilon", 3, reconstruction=1.0)
    assert encoder.calls == [3, 3]
    assert network.calls == [2 * 3]


def test_the_step_of_a_batch_is_the_mean_of_its_pictures_steps():
    images = torch.randn(1, 3, SIZE, SIZE)
    results = []
    for copies in (1, 4):
        batch = images.repeat(copies, 1, 1, 1).requires_grad_()

        def critic(x, sigma):
            return torch.zeros_like(x)

        loss, _ = distill(
            batch,
            None,
            SimpleNamespace(denoise=critic, encode=Encoder(), schedule=FixedNoise(), prediction="epsilon"),
            Distillation(resolution=SIZE),
            FixedDraws(),
        )
        results.append(torch.autograd.grad(loss, batch)[0].sum(0))
    torch.testing.assert_close(results[0], results[1])


class FixedNoise(NoiseSchedule):
    """One noise level, so that copies of a picture differ in nothing once their noise is ignored (the critic above says
    zero).
    """

    def __init__(self):
        super().__init__(torch.full((1000,), 0.8))


def FixedDraws():
    return torch.Generator().manual_seed(0)


def test_adding_a_domain_term_to_the_critic_changes_the_gradient_by_minus_the_weighted_term():
    torch.manual_seed(0)
    clean, plain, domain, empty = torch.randn(4, 2, *LATENT).double() * 0.2
    sigma = torch.tensor([0.4, 1.7]).double()
    weight = 1.5
    s = sigma.reshape(-1, 1, 1, 1)
    change = score_gradient(clean, plain + weight * (domain - empty), sigma) - score_gradient(clean, plain, sigma)
    # -(alpha / sigma) w(t) weight (D_domain - D_ref), with w = s² / (1 + s²)
    expected = -(1 / s) * s**2 / (1 + s**2) * weight * (domain - empty)
    torch.testing.assert_close(change, expected)


def test_decoupled_guidance_is_a_critic_as_it_is():
    network = Network("epsilon")
    prompt, empty = torch.randn(1, 5, 6), torch.randn(1, 5, 6)
    x, sigma = torch.randn(2, *LATENT), torch.tensor([0.5, 2.0])
    guided = GuidedDenoiser(network, network, empty, empty, weight=3.0, cfg=7.0)
    with torch.no_grad():
        plain = BatchedGuidance(network, prompt, empty, cfg=7.0)(x, sigma)
        torch.testing.assert_close(guided(x, sigma, prompt), plain, rtol=1e-5, atol=1e-5)


def test_a_gradient_stops_at_one_on_either_side():
    clean = torch.tensor([0.0, 0.4, 300.0, -300.0]).reshape(1, 4, 1, 1)
    found = score_gradient(clean, torch.zeros_like(clean), torch.tensor([1.0]))
    assert found.flatten().tolist() == pytest.approx([0.0, 0.2, 1.0, -1.0])
    for gradient in (
        directional_gradient(clean, -clean, torch.tensor([9.0]), 5.0),
        likelihood_gradient(clean, -clean, clean, torch.tensor([9.0])),
    ):
        assert gradient.abs().max() == 1


def test_a_critic_that_overflows_moves_nothing_where_it_says_nothing():
    clean = torch.ones(1, 4, 2, 2)
    denoised = clean.clone()
    denoised[0, 0, 0, 0] = float("nan")
    denoised[0, 1] = 0.5
    found = score_gradient(clean, denoised, torch.tensor([1.0]))
    assert found[0, 0].abs().max() == 0
    assert (found[0, 1] == 0.25).all()


def test_at_a_flow_models_full_noise_every_term_is_its_limit():
    clean, denoised, noise = torch.randn(3, 1, *LATENT) * 0.3
    ratio = noise_ratio(torch.tensor([1.0]), "flow")
    assert score_gradient(clean, denoised, ratio).abs().max() == 0
    assert torch.equal(likelihood_gradient(clean, denoised, noise, ratio), noise)
    assert torch.equal(directional_gradient(clean, denoised, ratio, 0.5), 0.5 * (clean - denoised))


def test_the_score_vanishes_where_the_critic_agrees():
    clean = torch.randn(2, *LATENT)
    assert score_gradient(clean, clean, torch.tensor([0.1, 9.0])).abs().max() == 0


def test_unit_rms_scales_each_picture_for_itself_and_leaves_zeros():
    values = torch.stack([torch.randn(LATENT), 100 * torch.randn(LATENT), torch.zeros(LATENT)])
    scaled = unit_rms(values)
    rms = scaled.square().flatten(1).mean(1).sqrt()
    torch.testing.assert_close(rms, torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(F.cosine_similarity(scaled.flatten(1), values.flatten(1))[:2], torch.ones(2))


def test_a_reconstruction_that_is_met_leaves_the_noise_term_alone():
    source, noise = torch.randn(1, *LATENT), torch.randn(1, *LATENT)
    ratio = torch.tensor([0.5])
    found = reconstruction_gradient(noise, source, source, ratio, 1.0)
    torch.testing.assert_close(found, (0.2 * noise / noise.square().mean().sqrt()).clamp(-1, 1))


@pytest.mark.parametrize("count", [100, 101, 4096])
def test_the_percentile_is_a_value_of_the_picture_and_clips_the_rest(count):
    torch.manual_seed(1)
    gradient = torch.randn(2, count) * torch.tensor([[1.0], [50.0]])
    clipped = clip_to_percentile(gradient, 0.95)
    for before, after in zip(gradient, clipped):
        limit = after.abs().max()
        assert limit in before.abs()
        assert (before.abs() > limit).sum() == count - round(0.95 * count)
        inside = before.abs() <= limit
        assert torch.equal(after[inside], before[inside])
        assert torch.equal(after[~inside], limit * before[~inside].sign())


def test_a_percentile_of_one_clips_nothing():
    gradient = torch.randn(3, 5, 5)
    assert torch.equal(clip_to_percentile(gradient, 1.0), gradient)


def test_drawn_timesteps_cover_the_range_and_never_leave_it():
    schedule = scaled_linear()
    drawn = NoiseRange(0.01, 0.5).timesteps(20_000, schedule, torch.Generator().manual_seed(0))
    assert drawn.min() == 10 and drawn.max() == 500
    whole = NoiseRange(0.0, 1.0).timesteps(50_000, schedule, torch.Generator().manual_seed(0))
    assert whole.min() == 0 and whole.max() == 999
    narrowest = NoiseRange(0.9997, 1.0).timesteps(100, schedule, torch.Generator().manual_seed(0))
    assert narrowest.min() == narrowest.max() == 999


@pytest.mark.parametrize("low, high", [(0.5, 0.5), (0.6, 0.2), (-0.1, 0.5), (0.1, 1.5), (math.nan, 0.5)])
def test_an_impossible_range_is_refused_in_one_sentence(low, high):
    with pytest.raises(ValueError, match="two fractions between 0 and 1"):
        NoiseRange(low, high)


def test_pictures_beyond_the_range_are_clamped_and_get_no_gradient_there():
    images = torch.tensor([0.5, 1.5, -2.0, -0.5]).reshape(1, 1, 2, 2).requires_grad_()
    pixels = critic_pixels(images, 2)
    pixels.sum().backward()
    assert pixels.flatten().tolist() == [0.5, 1.0, -1.0, -0.5]
    assert images.grad.flatten().tolist() == [1.0, 0.0, 0.0, 1.0]


def test_pictures_with_the_same_distances_as_the_source_are_left_alone():
    torch.manual_seed(0)
    source = torch.randn(4, 12)
    rotation = torch.linalg.qr(torch.randn(12, 12)).Q
    adapted = (source @ rotation).requires_grad_()
    loss = relative_distance_loss(adapted, source)
    (gradient,) = torch.autograd.grad(loss, adapted)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-5


def test_collapsed_pictures_are_pushed_apart_as_the_source_is():
    torch.manual_seed(0)
    source = torch.randn(5, 12)
    adapted = (torch.ones(5, 12) + 0.1 * torch.randn(5, 12)).requires_grad_()
    first = relative_distance_loss(adapted, source)
    for _ in range(200):
        (gradient,) = torch.autograd.grad(relative_distance_loss(adapted, source), adapted)
        adapted = (adapted - 5 * gradient).detach().requires_grad_()
    assert relative_distance_loss(adapted, source) < first / 20


def test_two_pictures_have_no_distances_to_compare():
    with pytest.raises(ValueError, match="this one has 2: give at least 3"):
        relative_distance_loss(torch.randn(2, 5), torch.randn(2, 5))


def test_the_relative_distance_term_reaches_the_pictures_unclipped_and_as_a_mean():
    plain, *_ = run("epsilon", 4, percentile=1.0)
    with_term, *_ = run("epsilon", 4, percentile=1.0, relative_distance=30.0)
    _, _, images, source, _ = scene("epsilon", 4)
    encoder = Encoder()
    loss = 30.0 * relative_distance_loss(encoder(images.clamp(-1, 1)), encoder(source.clamp(-1, 1)))
    (expected,) = torch.autograd.grad(loss, images)
    torch.testing.assert_close(with_term - plain, expected, rtol=1e-4, atol=1e-6)


def distilled(images, source, encoder=None, critic=None, share=Share(), **settings):
    network, guided, _, _, chosen = scene("epsilon", **settings)
    images = images.detach().requires_grad_()
    draws = torch.Generator().manual_seed(5)
    loss, found = distill(
        images, source, critic_of("epsilon", critic or guided, encoder or Encoder()), chosen, draws, share
    )
    return torch.autograd.grad(loss, images)[0], found


@pytest.mark.parametrize("count", [2, 3])
def test_the_shares_of_a_batch_have_the_gradient_of_the_whole(count):
    _, _, images, source, _ = scene("epsilon", 6)
    settings = {"directional": 1.0, "reconstruction": 0.5}
    whole, found = distilled(images, source, **settings)
    parts = [
        distilled(*(part.chunk(count)[index] for part in (images, source)), share=Share(index, count), **settings)
        for index in range(count)
    ]
    torch.testing.assert_close(torch.cat([gradient for gradient, _ in parts]) / count, whole)
    assert sum(part.disagreement for _, part in parts) / count == pytest.approx(found.disagreement, rel=1e-5)


def test_the_number_to_watch_is_the_rms_of_what_the_critic_would_change_where_it_says_something():
    _, _, images, _, _ = scene("epsilon", 2)
    latent = Encoder()(images.detach().clamp(-1, 1))

    def critic(answer):
        return lambda noisy, sigma: answer

    _, found = distilled(images, None, critic=critic(torch.zeros_like(latent)))
    assert found.disagreement == pytest.approx(float(latent.square().flatten(1).mean(1).sqrt().mean()), rel=1e-6)
    holed = torch.zeros_like(latent)
    holed[0, :, :2], holed[1, 0] = math.nan, math.inf
    _, found = distilled(images, None, critic=critic(holed))
    kept = latent[0, :, 2:].square().mean().sqrt(), latent[1, 1:].square().mean().sqrt()
    assert found.disagreement == pytest.approx(float(sum(kept) / 2), rel=1e-6)
    _, found = distilled(images, None, critic=critic(torch.full_like(latent, math.nan)))
    assert math.isnan(found.disagreement)


def test_an_encoder_in_half_precision_is_judged_in_float32():
    _, _, images, source, _ = scene("epsilon", 1)
    seen = []

    class Half(Encoder):
        def __call__(self, pixels):
            return super().__call__(pixels).bfloat16()

    def critic(noisy, sigma):
        seen.append(noisy.dtype)
        return torch.zeros_like(noisy)

    half, _ = distilled(images, source, encoder=Half(), critic=critic, directional=1.0)
    exact, _ = distilled(images, source, critic=critic, directional=1.0)
    assert set(seen) == {torch.float32} and float((half - exact).norm() / exact.norm()) < 0.05


@pytest.mark.parametrize(
    "settings, passes",
    [({}, 1), ({"directional": 1.0}, 2), ({"directional": 1.0, "reconstruction": 1.0, "percentile": 1.0}, 1)],
)
def test_the_gradient_goes_through_the_encoder_once_or_twice_where_only_the_score_is_clipped(settings, passes):
    made = []

    class Counting(Encoder):
        def __call__(self, pixels):
            latent = super().__call__(pixels)
            if latent.requires_grad:
                latent.register_hook(lambda gradient: made.append(1))
            return latent

    _, _, images, source, _ = scene("epsilon", 1)
    distilled(images, source, encoder=Counting(), **settings)
    assert len(made) == passes


def test_a_run_saved_before_the_factor_and_the_unit_score_existed_can_still_go_on():
    before = settings_identity(AdaptationSettings(distillation=Distillation()), world=1)
    assert not any("unit_score" in name or name.endswith(" scale") for name in before)
    changed = settings_identity(AdaptationSettings(distillation=Distillation(scale=0.01, unit_score=True)), world=1)
    assert changed == before | {"distillation scale": 0.01, "distillation unit_score": True}


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_is_no_positive_number_is_refused(scale):
    with pytest.raises(ValueError, match="scale is .*: give a factor above 0"):
        Distillation(scale=scale)
