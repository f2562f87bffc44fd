"""A domain adapter on the prompt's branch: the formula, at the cost of a plain step, and what it refuses."""

import functools

import pytest
from domain_adapters import domain_adapter
from messages import refusal
from mini_models import trained
from prompts import sample_with_guider
from scenes import EMPTY, OTHER, assert_differs, assert_same, build
from side_scenes import load as load_side
from side_scenes import side_network
from watchers import watch_evaluations

CFG, SHARE = 4.0, 0.75


@pytest.fixture
def adapters(host, minis):
    return functools.partial(domain_adapter, host, minis)


def on_prompt(s, name, weight=SHARE, **inputs):
    return s.guide(s.model, load(s, name), weight=weight, reference="fast", **inputs)


def load(s, name):
    return s.graph.add("DomainGuidanceLoadAdapter", model=s.model, lora_name=name)


def lora(s, minis, model, strength=SHARE):
    """The same LoRA through the host's own loader."""
    return s.graph.add("LoraLoaderModelOnly", model=model, lora_name=minis.lora(s.family), strength_model=strength)


def formula(s, minis, strength=SHARE, **sampling):
    """By the host's guider of two models: a patched copy reads the prompt, the base the negative."""
    copy = lora(s, minis, s.load_domain(minis.domain(s.family)), strength)
    guider = s.graph.add(
        "DualModelGuider", model=copy, model_negative=s.model, positive=s.positive, negative=s.negative, cfg=CFG
    )
    return sample_with_guider(s.graph, s.model, guider, s.latent, **sampling)


def guided(s, model, **sampling):
    guider = s.graph.add("CFGGuider", model=model, positive=s.positive, negative=s.negative, cfg=CFG)
    return sample_with_guider(s.graph, s.model, guider, s.latent, **sampling)


@pytest.mark.parametrize("negative", [EMPTY, OTHER], ids=["empty negative", "other negative"])
@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux"])
def test_the_prompt_is_read_with_the_adapter_and_the_negative_without(host, minis, adapters, family, negative):
    s = build(minis, family, negative=negative)
    result = host.samples(s.graph, guided(s, on_prompt(s, adapters(family))))
    assert_same(result, host.samples(s.graph, formula(s, minis)))
    assert_differs(result, host.samples(s.graph, guided(s, s.model)), at_least=1e-3)


def test_a_batch_of_pictures_is_read_row_by_row(host, minis, adapters):
    s = build(minis, batch=3)
    assert_same(host.samples(s.graph, guided(s, on_prompt(s, adapters()))), host.samples(s.graph, formula(s, minis)))


def test_a_strength_of_the_loader_and_the_share_multiply(host, minis, adapters):
    s = build(minis)
    half = s.graph.add("DomainGuidanceLoadAdapter", model=s.model, lora_name=adapters(), strength=0.5)
    model = s.guide(s.model, half, weight=1.0, reference="fast")
    assert_same(host.samples(s.graph, guided(s, model)), host.samples(s.graph, formula(s, minis, 0.5)))


def test_at_cfg_1_it_is_the_plain_lora(host, minis, adapters):
    s = build(minis)
    assert_same(
        host.samples(s.graph, s.sample(on_prompt(s, adapters()), cfg=1.0)),
        host.samples(s.graph, s.sample(lora(s, minis, s.load_domain(minis.domain())), cfg=1.0)),
    )


def test_it_takes_no_evaluation_and_no_batch_more_than_a_plain_step(host, minis, adapters):
    s = build(minis)
    counts = []
    for model in (s.model, on_prompt(s, adapters())):
        with watch_evaluations() as seen:
            host.samples(s.graph, s.sample(model, seed=41))
        counts.append([size for _, size in seen])
    assert counts[0] == counts[1] == [2, 2, 2]


def test_at_weight_0_and_outside_of_its_range_the_host_samples_bit_for_bit_as_without(host, minis, adapters):
    s = build(minis)
    plain = host.samples(s.graph, s.sample(s.model))
    for inputs in ({"weight": 0.0}, {"start_percent": 0.2, "end_percent": 0.21}):
        assert (host.samples(s.graph, s.sample(on_prompt(s, adapters(), **inputs))) == plain).all()
    assert (host.samples(s.graph, s.sample(s.model, seed=8)) != plain).any()


def test_nothing_of_it_is_left_on_the_weights(host, minis, adapters):
    s = build(minis)
    plain = host.samples(s.graph, s.sample(s.model, seed=51))
    host.samples(s.graph, s.sample(on_prompt(s, adapters()), seed=52))
    assert (host.samples(s.graph, s.sample(s.model, seed=51, steps=3)) == plain).all()
    assert (host.samples(s.graph, s.sample(s.load(minis.unet("sd15")), seed=51)) == plain).all()


def test_a_schedule_scales_the_share(host, minis, adapters):
    s = build(minis)
    half = s.graph.add("DomainGuidanceSchedule", shape="constant", first=0.5, last=0.5)
    scheduled = host.samples(s.graph, guided(s, on_prompt(s, adapters(), 2 * SHARE, schedule=half)))
    assert_same(scheduled, host.samples(s.graph, formula(s, minis)))


def test_a_domain_of_its_own_acts_beside_it_in_either_order(host, minis, adapters):
    s = build(minis)
    adapter, domain = load(s, adapters()), s.load_domain(minis.domain(change=trained))
    first = s.guide(s.guide(s.model, adapter, weight=SHARE, reference="fast"), domain)
    second = s.guide(s.guide(s.model, domain), adapter, weight=SHARE, reference="fast")
    result = host.samples(s.graph, s.sample(first))
    assert_same(result, host.samples(s.graph, s.sample(second)))
    for alone in (s.guide(s.model, domain), on_prompt(s, adapters())):
        assert_differs(result, host.samples(s.graph, s.sample(alone)), at_least=1e-3)


def test_the_empty_prompt_that_a_term_subtracts_is_still_the_bases_own_and_free(host, minis, adapters):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(s.guide(on_prompt(s, adapters()), domain), seed=61))
    assert seen.elements(1, 3) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s, m, h: s.load_domain(m.domain(change=trained)), "a network of its own"),
        (lambda s, m, h: load_side(s, side_network(h, m)), "a network of its own"),
    ],
    ids=["whole network", "side network"],
)
def test_a_domain_that_is_no_adapter_is_refused(host, minis, make, words):
    s = build(minis)
    message = refusal(host, s, s.guide(s.model, make(s, minis, host), reference="fast"))
    assert words in message and "'auto'" in message


@pytest.mark.parametrize(
    ("name", "value"), [("mask", None), ("projection", 0.5), ("norm_cap", 3.0), ("control", "none"), ("every", 2)]
)
def test_an_input_that_cannot_act_on_a_prompt_is_refused_by_its_name(host, minis, adapters, name, value):
    s = build(minis)
    given = s.graph.add("SolidMask", value=1.0, width=8, height=8) if value is None else value
    assert f"so {name} cannot act" in refusal(host, s, on_prompt(s, adapters(), **{name: given}))


def test_the_report_says_that_it_cannot_be_taken_apart(host, minis, adapters):
    s = build(minis)
    sampled = {"model": on_prompt(s, adapters()), "positive": s.positive, "negative": s.negative}
    report = s.graph.add("DomainGuidanceReport", latent_image=s.latent, steps=2, **sampled)
    assert "'fast'" in refusal(host, s, report)
