"""On the toy world: a bad setting, what the report advises, and whether that is a good one."""

import pytest
import torch
from prompts import Graph

SETTINGS = {"steps": 20, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
SYMPTOM = {"strong": 0, "weak": 1, "burn": 2}  # which of the judged values is bad: the digit, the distance, the range


@pytest.fixture(scope="module")
def world(host):
    """The library's comparison, measures and prompts, its models, and its held-out pictures of the domain as the judge
    sees them.
    """
    comparison, prompts = (host.library(f"domain_guidance.toy_world.{name}") for name in ("comparison", "prompts"))
    scores = host.library("domain_guidance.evaluation.scores")
    models = comparison.load_models()
    return comparison, scores, prompts, models, models.judge.read(comparison.held_out_domain(200).images).features


def guided_world(host, weight, batch, **range_):
    """(model, inputs of KSampler) of eight red threes or another number of them, under the domain at a weight."""
    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="3", stroke="red", ground="any", batch_size=batch)
    guided = graph.add("DomainGuidanceApply", model=toy[0], domain_model=toy[1], weight=weight, **range_)
    inputs = {
        name: host.value(graph, toy[index]) for name, index in (("positive", 3), ("negative", 4), ("latent_image", 5))
    }
    return host.value(graph, guided), inputs


@pytest.fixture(scope="module")
def judged(host, world):
    """(weight, cfg) -> over fifty prompts: share of digits read as asked, distance to the domain, share of values
    beyond the range.
    """
    comparison, scores, prompts, models, held_out = world
    sampling, asked = host.library("nodes.comfy_host.sampling"), comparison.every_prompt(1)

    def judge_setting(weight, cfg):
        model, inputs = guided_world(host, weight, len(asked))
        inputs["positive"] = [[prompts.encode(asked, models.table), {}]]
        with torch.inference_mode():
            images = sampling.Sampling(seed=1000, **inputs, **SETTINGS)(model, cfg)["samples"]
        reading = models.judge.read(images)
        digits, distance = (
            scores.share(reading.digit, asked.digit),
            scores.kernel_distance(reading.features, held_out),
        )
        return digits, distance, (images.abs() > 1.05).float().mean().item()

    return judge_setting


@pytest.fixture(scope="module")
def advised(host):
    """(weight, cfg) -> the report's advice on eight red threes."""
    report, sampling = host.library("nodes.comfy_host.guidance.report"), host.library("nodes.comfy_host.sampling")

    def advise(weight, cfg, **range_):
        model, inputs = guided_world(host, weight, 8, **range_)
        with torch.inference_mode():
            return report.report(model, sampling.Sampling(seed=1, **inputs, **SETTINGS), cfg).advice

    return advise


def applied(advice, weight, cfg):
    (new,) = advice.weights
    return new, cfg if advice.cfg is None else advice.cfg


@pytest.mark.parametrize(("weight", "cfg", "kind"), [(6.0, 8.0, "burn"), (0.1, 4.0, "weak"), (4.0, 1.5, "strong")])
def test_the_first_advice_moves_a_bad_setting_to_a_good_one(judged, advised, record_property, weight, cfg, kind):
    """Good is what the bad setting is not: in the domain, and still the digit that was asked for."""
    advice = advised(weight, cfg)[0]
    assert advice.kind == kind
    before, after = judged(weight, cfg), judged(*applied(advice, weight, cfg))
    for name, setting, found in (("before", (weight, cfg), before), ("after", applied(advice, weight, cfg), after)):
        record_property(
            name,
            "weight {:g}, cfg {:g}: digit {:.2f}, distance {:.3f}, beyond the range {:.2f}".format(*setting, *found),
        )
    bad, good = before[SYMPTOM[kind]], after[SYMPTOM[kind]]
    assert good > bad + 0.3 if kind == "strong" else good < bad / 2
    assert after[0] >= 0.75 and after[1] < 0.1 and after[2] < 0.1


@pytest.mark.parametrize(("weight", "cfg"), [(1.5, 4.0), (2.0, 3.0)])
def test_a_good_setting_is_left_alone(advised, weight, cfg):
    assert [advice.kind for advice in advised(weight, cfg)] == ["fine"]


def test_the_advised_range_brings_the_ratio_back_at_the_old_weight(advised):
    strong = advised(2.5, 2.0)[0]
    range_ = {
        name: value
        for name, value in (("start_percent", strong.start_percent), ("end_percent", strong.end_percent))
        if value is not None
    }
    assert strong.kind == "strong" and range_
    assert "strong" not in [advice.kind for advice in advised(2.5, 2.0, **range_)]
