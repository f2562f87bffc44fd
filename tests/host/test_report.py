"""Domain Guidance Report in the real host: KSampler's picture, true numbers, and advice that helps."""

import math
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from cancelling import cancel_at
from mini_models import trained, without_text
from prompts import SAMPLING, Graph
from scenes import OTHER, assert_one_sentence, build

STEPS, CFG = 4, 5.0


def reported(s, model, **changes):
    settings = {**SAMPLING, "steps": STEPS, **changes}
    return s.graph.add(
        "DomainGuidanceReport", model=model, positive=s.positive, negative=s.negative, latent_image=s.latent, **settings
    )


def guided_scene(minis, **scene):
    s = build(minis, batch=2, **scene)
    return s, s.guide(s.model, s.load_domain(minis.domain(change=trained)))


@pytest.fixture
def report_of(host):
    """The report object behind the node, for the same inputs."""
    module, sampling = host.library("nodes.comfy_host.guidance.report"), host.library("nodes.comfy_host.sampling")

    def make(s, model, cfg=CFG, vae=None, **changes):
        values = {
            name: host.value(s.graph, getattr(s, link))
            for name, link in (("positive", "positive"), ("negative", "negative"), ("latent_image", "latent"))
        }
        settings = {**{name: value for name, value in SAMPLING.items() if name != "cfg"}, "steps": STEPS, **changes}
        with torch.inference_mode():
            return module.report(host.value(s.graph, model), sampling.Sampling(**values, **settings), cfg, vae)

    return make


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sampler_name": "euler_ancestral"},
        {"sampler_name": "heun"},
        {"sampler_name": "dpmpp_2m_sde", "scheduler": "karras"},
        {"sampler_name": "uni_pc"},
        {"denoise": 0.6},
        {"cfg": 1.0},
    ],
    ids=str,
)
def test_the_latent_is_ksamplers_bit_for_bit(host, minis, changes):
    s, guided = guided_scene(minis, latent_seed=5)
    assert torch.equal(
        host.samples(s.graph, reported(s, guided, **changes)),
        host.samples(s.graph, s.sample(guided, **{"steps": STEPS, **changes})),
    )


def test_a_noise_mask_is_ksamplers_too(host, minis):
    s, guided = guided_scene(minis, latent_seed=5)
    s.latent = s.graph.add("SetLatentNoiseMask", samples=s.latent, mask=s.graph.add("ProbeHalfMask"))
    report, plain = host.value(s.graph, reported(s, guided)), host.value(s.graph, s.sample(guided, steps=STEPS))
    assert torch.equal(report["samples"], plain["samples"]) and report.keys() == plain.keys()


@contextmanager
def recorded_predictions():
    """(model, "positive" or "negative", x, sigma, prediction) of every evaluation, from below everything that the pack
    does.
    """
    import comfy.model_base

    seen, original = [], comfy.model_base.BaseModel._apply_model

    def recorded(self, x, t, c_concat, c_crossattn, control, transformer_options, **rest):
        output = original(self, x, t, c_concat, c_crossattn, control, transformer_options, **rest)
        roles = transformer_options["cond_or_uncond"]
        for role, x_part, sigma, part in zip(roles, x.chunk(len(roles)), t.chunk(len(roles)), output.chunk(len(roles))):
            seen.append((self, ("positive", "negative")[role], x_part.clone(), float(sigma[0]), part.clone().double()))
        return output

    with patch.object(comfy.model_base.BaseModel, "_apply_model", recorded):
        yield seen


def length(values):
    """Mean over the batch of the root of the sum of squares, without the library."""
    return sum(math.sqrt(sum(v * v for v in picture.flatten().tolist())) for picture in values) / len(values)


def direction(a, b):
    pairs = zip(a.flatten(1).tolist(), b.flatten(1).tolist())
    cosines = [
        sum(x * y for x, y in zip(u, v)) / math.sqrt(sum(x * x for x in u) * sum(y * y for y in v)) for u, v in pairs
    ]
    return sum(cosines) / len(cosines)


def deviation(values):
    return torch.tensor([float(picture.std()) for picture in values], dtype=torch.float64)


def by_step(seen, base):
    """[(sigma, {role: base prediction}, [predictions of other models])], one per noise level, in order."""
    levels = {}
    for model, role, _, sigma, prediction in seen:
        _, own, others = levels.setdefault(sigma, (sigma, {}, []))
        if model is base:
            own[role] = prediction
        else:
            others.append(prediction)
    return list(levels.values())


@pytest.mark.parametrize("cfg", [CFG, 1.0], ids=["cfg 5", "cfg 1"])
def test_every_number_equals_a_computation_from_recorded_predictions(host, minis, report_of, cfg):
    """Two terms: one everywhere, one of negative weight on the left half and in the first half of the sampling."""
    s, guided = guided_scene(minis)
    second = s.load_domain(minis.domain(change=without_text, form="text-free"))
    both = s.guide(guided, second, weight=-1.5, mask=s.graph.add("ProbeHalfMask"), end_percent=0.5)
    with recorded_predictions() as seen:
        report = report_of(s, both, cfg)
    levels = by_step(seen, host.value(s.graph, s.model).model)
    assert len(levels) == len(report.steps) == STEPS
    assert 0 in [step.measured.terms[1].weight for step in report.steps] and -1.5 in [
        step.measured.terms[1].weight for step in report.steps
    ]
    left = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    left[..., :4] = 1
    for step, (_, own, (first, other)) in zip(report.steps, levels):
        text = cfg * (own["positive"] - own["negative"])
        weights = [term.weight for term in step.measured.terms]
        units = [first - own["negative"], left * (other - own["negative"])]
        measured = step.measured
        assert measured.text == pytest.approx(length(text), rel=1e-5)
        assert measured.coefficient == pytest.approx(
            1 - cfg - weights[0] - max(weights[1], 0)
        )  # the right half has the first alone
        result = own["negative"] + text + sum(weight * unit for weight, unit in zip(weights, units))
        single = torch.stack([deviation(values) for values in (own["negative"], first, other)]).amax(0)
        assert measured.contrast == pytest.approx(float((deviation(result) / single).mean()), rel=1e-5)
        for term, weight, unit in zip(measured.terms, weights, units):
            assert term.norm == pytest.approx(abs(weight) * length(unit), rel=1e-5)
            assert term.cosine == pytest.approx((-1 if weight < 0 else 1) * direction(unit, text), abs=1e-5)


def test_a_negative_prompt_is_not_the_empty_one_that_terms_are_measured_against(host, minis, report_of):
    """reference auto subtracts the empty prompt: the text term is the sampler's result less that, not less the
    negative.
    """
    s, guided = guided_scene(minis, negative=OTHER)
    with recorded_predictions() as seen:
        report = report_of(s, guided, CFG)
    base = host.value(s.graph, s.model).model
    first = [entry for entry in seen if entry[3] == seen[0][3]]
    positive, negative = (
        next(e[4] for e in first if e[0] is base and e[1] == role) for role in ("positive", "negative")
    )
    empty = [e[4] for e in first if e[0] is base and e[1] == "negative"][1]
    text = negative + CFG * (positive - negative) - empty
    assert report.steps[0].measured.text == pytest.approx(length(text), rel=1e-5)


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_sde", "uni_pc"])
def test_samplers_that_evaluate_twice_give_one_line_per_step(minis, report_of, sampler):
    s, guided = guided_scene(minis)
    steps = report_of(s, guided, sampler_name=sampler).steps
    assert [step.number for step in steps] == list(range(1, STEPS + 1))
    percents = [step.percent for step in steps]
    assert percents == sorted(set(percents)) and 0 <= percents[0] < percents[-1] <= 1


def test_progress_and_previews_are_ksamplers(host, minis, monkeypatch):
    import comfy.utils

    monkeypatch.setattr(
        comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0.0
    )  # on a busy machine it lets through what it holds back on another
    s, guided = guided_scene(minis)

    def heard(link):
        calls = []
        with patch.object(
            comfy.utils,
            "PROGRESS_BAR_HOOK",
            lambda value, total, preview, node_id=None: calls.append((value, total, preview is None)),
        ):
            host.samples(s.graph, link, fresh=True)
        return calls

    assert heard(reported(s, guided)) == heard(s.sample(guided, steps=STEPS))


def test_a_cancel_interrupts_the_prompt(host, minis):
    s, guided = guided_scene(minis)
    probe = s.graph.add("ProbeCapture", value=reported(s, guided, seed=991))
    with cancel_at(3) as begun:
        assert probe.id not in host.run(s.graph)
    assert "execution_interrupted" in [event for event, _ in host._executor.status_messages]
    assert begun == [1, 2, 3]


def test_without_guidance_it_samples_as_ksampler_and_says_what_to_connect(host, minis):
    s, _ = guided_scene(minis)
    domain = s.load_domain(minis.domain(change=trained))
    plain = host.samples(s.graph, s.sample(s.model, steps=STEPS))
    for model in (s.model, s.guide(s.model, domain, weight=0.0)):
        node = reported(s, model)
        assert torch.equal(host.samples(s.graph, node), plain)
        first = host.value(s.graph, node[2]).splitlines()[0].removeprefix("1. ")
        assert_one_sentence(first)
        assert "Apply Domain Guidance" in first


def test_nothing_sampled_is_said_and_still_drawn(host, minis):
    """denoise 0 leaves no step over."""
    s, guided = guided_scene(minis, latent_seed=5)
    node = reported(s, guided, denoise=0.0)
    assert "not active in any of the sampled steps" in host.value(s.graph, node[2])
    assert host.value(s.graph, node[1]).shape[2:] == (840, 3)


def test_the_node_gives_the_picture_and_the_words_of_its_report(host, minis, report_of):
    s, guided = guided_scene(minis)
    node = reported(s, guided)
    report = report_of(s, guided)
    assert host.value(s.graph, node[2]) == report.text and "connect vae" in report.text
    assert (host.value(s.graph, node[1])[0] * 255).round().byte().numpy().tobytes() == report.plot.tobytes()
    assert report.text.startswith("1. ") and report.advice[0].text in report.text


def test_a_vae_shows_the_pictures_and_counts_clipped_values(host, minis, report_of):
    """The toy world's latents are its pixels: what lies beyond -1 or 1 is clipped."""
    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="3", stroke="red", ground="any", batch_size=2)
    guided = graph.add("DomainGuidanceApply", model=toy[0], domain_model=toy[1], weight=6.0)
    inputs = {"model": guided, "positive": toy[3], "negative": toy[4], "latent_image": toy[5], **SAMPLING}
    bare, shown = graph.add("DomainGuidanceReport", **inputs), graph.add("DomainGuidanceReport", vae=toy[2], **inputs)
    levels = host.samples(graph, bare).clamp(-1, 1)
    clipped = ((levels <= -1 + 1 / 255) | (levels >= 1 - 1 / 255)).float().mean().item()
    assert clipped > 0.05 and f"{clipped:.0%} of its pixel values" in host.value(graph, shown[2])
    assert not torch.equal(host.value(graph, bare[1]), host.value(graph, shown[1]))
