"""The general form (arXiv 2312.08195): any number of models and conditions, against the formula worked out by hand."""

import itertools

import pytest
import torch
from by_hand import ByHand
from mini_models import trained
from prompts import sample_with_guider
from scenes import EMPTY, OTHER, assert_differs, assert_same, build, control
from watchers import watch_evaluations

CFG = 4.0


def term(s, model, conditioning, weight, **inputs):
    return s.graph.add("DomainGuidanceTerm", model=model, conditioning=conditioning, weight=weight, **inputs)


def halves(s):
    left = s.graph.add("ProbeHalfMask")
    return left, s.graph.add("InvertMask", mask=left)


def five_nodes(s, domain, tuned):
    """Every kind of term at once: a domain, a prompt to keep away from, two contrasts, another model's prompt."""
    left, right = halves(s)
    fading = s.graph.add(
        "DomainGuidanceSchedule", shape="linear", first=1.5, last=0.5, start_percent=0.0, end_percent=1.0
    )
    return [
        lambda m: s.guide(m, domain, weight=1.5, mask=left),
        lambda m: term(s, m, s.prompt(3), -0.8),
        lambda m: term(s, m, s.prompt(4), 0.6, minus=s.prompt(5), term_model=tuned, end_percent=0.4),
        lambda m: term(s, m, s.prompt(6), 0.7, minus=s.prompt(8), mask=right, schedule=fading),
        lambda m: term(s, m, s.prompt(9), 0.4, term_model=tuned, start_percent=0.4),
    ]


def applied(nodes, model):
    for node in nodes:
        model = node(model)
    return model


def the_formula(hand, latent):
    left = torch.zeros_like(latent)
    left[..., : latent.shape[-1] // 2] = 1.0

    def formula(d, sigma):
        negative, late = d("base", "negative"), hand.reached(sigma, 0.4)
        share = {0: 0.0, 1: 0.5, 2: 1.0}[formula.step]
        formula.step += 1
        result = (
            negative
            + CFG * (d("base", "positive") - negative)
            + 1.5 * left * (d("domain", "empty") - d("base", "empty"))
        )
        result = result - 0.8 * (d("base", 3) - negative)
        result = result + (0.0 if late else 0.6) * (d("tuned", 4) - d("tuned", 5))
        result = result + 0.7 * (1.5 - share) * (1 - left) * (d("base", 6) - d("base", 8))
        return result + (0.4 if late else 0.0) * (d("tuned", 9) - negative)

    formula.step = 0
    return formula


@pytest.mark.parametrize("negative", [EMPTY, OTHER], ids=["empty negative", "other negative"])
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_five_terms_with_masks_ranges_signs_and_contrasts_equal_the_formula(host, minis, family, negative):
    s = build(minis, family, negative=negative)
    domain, tuned = s.load_domain(minis.domain(family, change=trained)), s.load(minis.fine_tuned(family))
    prompts = {"positive": s.positive, "negative": s.negative, "empty": s.prompt(EMPTY)} | {
        seed: s.prompt(seed) for seed in (3, 4, 5, 6, 8, 9)
    }
    hand = ByHand(host, s, {"base": s.model, "domain": domain, "tuned": tuned}, prompts)
    latent = host.samples(s.graph, s.latent)
    expected = hand.sample(latent, the_formula(hand, latent))
    guided = host.samples(s.graph, s.sample(applied(five_nodes(s, domain, tuned), s.model), cfg=CFG))
    assert_same(guided, expected)
    assert_differs(guided, host.samples(s.graph, s.sample(s.model, cfg=CFG)))


def test_no_order_of_the_nodes_matters(host, minis):
    s = build(minis, negative=OTHER)
    nodes = five_nodes(s, s.load_domain(minis.domain(change=trained)), s.load(minis.fine_tuned("sd15")))
    orders = [order for number, order in enumerate(itertools.permutations(nodes)) if number in (0, 37, 74, 119)]
    first, *others = [host.samples(s.graph, s.sample(applied(order, s.model))) for order in orders]
    assert len(others) == 3
    for other in others:
        assert_same(other, first)


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_the_formula_holds_for_flow_models(host, minis, family):
    """One step, after which a sampler's result is what it took for the clean latent."""
    s = build(minis, family, negative=OTHER)
    domain, tuned, prompts = (
        s.load_domain(minis.domain(family, change=trained)),
        s.load(minis.fine_tuned(family)),
        [s.prompt(n) for n in (3, 4, 5)],
    )

    def alone(model, prompt):
        return host.samples(s.graph, s.sample(model, positive=prompt, cfg=1.0, steps=1))

    guided = s.guide(
        term(s, term(s, s.model, prompts[0], -0.8), prompts[1], 0.6, minus=prompts[2], term_model=tuned),
        domain,
        weight=1.5,
    )
    expected = host.samples(s.graph, s.sample(s.model, steps=1)) - 0.8 * (
        alone(s.model, prompts[0]) - alone(s.model, s.negative)
    )
    expected = expected + 0.6 * (alone(tuned, prompts[1]) - alone(tuned, prompts[2]))
    expected = expected + 1.5 * (alone(domain, s.prompt(EMPTY)) - alone(s.model, s.prompt(EMPTY)))
    assert_same(host.samples(s.graph, s.sample(guided, steps=1)), expected)


def test_a_term_of_the_positive_prompt_adds_its_weight_to_cfg(host, minis):
    s = build(minis, negative=OTHER)
    more = term(s, s.model, s.positive, 2.0)
    assert_same(host.samples(s.graph, s.sample(more)), host.samples(s.graph, s.sample(s.model, cfg=7.0)))


def test_the_empty_prompt_as_minus_is_the_papers_subtrahend_whatever_the_negative(host, minis):
    s = build(minis, negative=OTHER)
    hand = ByHand(
        host,
        s,
        {"base": s.model},
        {"positive": s.positive, "negative": s.negative, "empty": s.prompt(EMPTY), 3: s.prompt(3)},
    )

    def formula(d, sigma):
        cfg = d("base", "negative") + CFG * (d("base", "positive") - d("base", "negative"))
        return cfg + 1.2 * (d("base", 3) - d("base", "empty"))

    guided = term(s, s.model, s.prompt(3), 1.2, minus=s.prompt(EMPTY))
    expected = hand.sample(host.samples(s.graph, s.latent), formula)
    assert_same(host.samples(s.graph, s.sample(guided, cfg=CFG)), expected)


def test_weight_zero_is_the_hosts_latent_bit_for_bit(host, minis):
    s = build(minis)
    off = term(s, s.model, s.prompt(3), 0.0, minus=s.prompt(4))
    assert torch.equal(host.samples(s.graph, s.sample(off)), host.samples(s.graph, s.sample(s.model)))


def test_a_prompt_against_itself_is_nothing(host, minis):
    s = build(minis)
    nothing = term(s, s.model, s.prompt(3), 2.0, minus=s.prompt(3))
    assert_same(host.samples(s.graph, s.sample(nothing)), host.samples(s.graph, s.sample(s.model)))


@pytest.mark.parametrize("kind", ["domain", "prompt"])
def test_two_complementary_masks_make_the_whole_term(host, minis, kind):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))

    def once(model, **inputs):
        return s.guide(model, domain, **inputs) if kind == "domain" else term(s, model, s.prompt(3), 2.0, **inputs)

    left, right = halves(s)
    both = once(once(s.model, mask=left), mask=right)
    assert_same(host.samples(s.graph, s.sample(both)), host.samples(s.graph, s.sample(once(s.model))))


def test_a_domain_file_as_term_model_brings_its_own_empty_prompt_to_subtract(host, minis):
    """A term that reads the stored empty prompt is what Apply Domain Guidance makes."""
    s = build(minis, negative=OTHER)
    domain = s.load_domain(minis.domain(change=trained))
    as_term = term(s, s.model, s.prompt(EMPTY), 2.0, term_model=domain)
    assert_same(host.samples(s.graph, s.sample(as_term)), host.samples(s.graph, s.sample(s.guide(s.model, domain))))


def test_with_minus_the_subtrahend_is_read_by_the_same_model_unless_another_is_connected(host, minis):
    s = build(minis)
    tuned = s.load(minis.fine_tuned("sd15"))
    hand = ByHand(
        host,
        s,
        {"base": s.model, "tuned": tuned},
        {"positive": s.positive, "negative": s.negative, 3: s.prompt(3), 4: s.prompt(4)},
    )
    latent = host.samples(s.graph, s.latent)
    for reference in ("tuned", "base"):

        def formula(d, sigma):
            cfg = d("base", "negative") + CFG * (d("base", "positive") - d("base", "negative"))
            return cfg + 0.9 * (d("tuned", 3) - d(reference, 4))

        inputs = {} if reference == "tuned" else {"reference_model": s.model}
        guided = term(s, s.model, s.prompt(3), 0.9, minus=s.prompt(4), term_model=tuned, **inputs)
        assert_same(host.samples(s.graph, s.sample(guided, cfg=CFG)), hand.sample(latent, formula))


def with_lora(s, minis, model):
    return s.graph.add("LoraLoaderModelOnly", model=model, lora_name=minis.lora(), strength_model=1.0)


def test_a_lora_on_the_same_checkpoint_as_term_model_equals_a_second_copy_with_it(host, minis):
    s = build(minis, negative=OTHER)
    shared = term(s, s.model, s.prompt(3), 1.3, minus=s.prompt(4), term_model=with_lora(s, minis, s.model))
    separate = term(
        s, s.model, s.prompt(3), 1.3, minus=s.prompt(4), term_model=with_lora(s, minis, s.load_domain(minis.domain()))
    )
    assert_same(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(separate)))
    own = term(s, s.model, s.prompt(3), 1.3, minus=s.prompt(4))
    assert_differs(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(own)))


def test_a_controlnet_on_the_terms_own_prompt_acts_with_a_weight_of_its_own(host, minis):
    """e_0(x, c + control) - e_0(x, negative) beside a sampler whose prompts have no ControlNet."""
    s = build(minis)
    plain = {"positive": s.positive, "negative": s.negative}
    control(s, minis, strength=1.0)
    controlled = s.positive
    s.positive, s.negative = plain["positive"], plain["negative"]
    guided = term(s, s.model, controlled, 1.4)
    hand = ByHand(host, s, {"base": s.model}, {**plain, "controlled": controlled})

    def formula(d, sigma):
        return (
            d("base", "negative")
            + CFG * (d("base", "positive") - d("base", "negative"))
            + 1.4 * (d("base", "controlled") - d("base", "negative"))
        )

    result = host.samples(s.graph, s.sample(guided, cfg=CFG))
    assert_same(result, hand.sample(host.samples(s.graph, s.latent), formula))
    assert_differs(result, host.samples(s.graph, s.sample(term(s, s.model, plain["positive"], 1.4), cfg=CFG)))


def test_a_term_without_a_negative_prompt_subtracts_the_guiders_only_prompt(host, minis):
    s = build(minis)
    guided = term(s, s.model, s.prompt(3), 2.0)

    def guider(model, positive):
        return s.graph.add("BasicGuider", model=model, conditioning=positive)

    result = host.samples(s.graph, sample_with_guider(s.graph, guided, guider(guided, s.positive), s.latent))
    plain = s.sample(s.model, positive=s.prompt(3), negative=s.positive, cfg=2.0)
    assert_same(result, host.samples(s.graph, plain))


@pytest.mark.parametrize("shape", ["constant", "interval"])
def test_a_schedule_of_ones_is_no_schedule_bit_for_bit(host, minis, shape):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    ones = s.graph.add("DomainGuidanceSchedule", shape=shape, first=1.0, last=0.0)
    scheduled, plain = (s.sample(s.guide(s.model, domain, **inputs)) for inputs in ({"schedule": ones}, {}))
    assert torch.equal(host.samples(s.graph, scheduled), host.samples(s.graph, plain))


def test_an_interval_as_schedule_is_start_and_end_percent(host, minis):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    interval = s.graph.add("DomainGuidanceSchedule", shape="interval", first=1.0, start_percent=0.3, end_percent=0.8)
    scheduled = host.samples(s.graph, s.sample(s.guide(s.model, domain, schedule=interval), steps=6))
    percent = host.samples(s.graph, s.sample(s.guide(s.model, domain, start_percent=0.3, end_percent=0.8), steps=6))
    assert torch.equal(scheduled, percent)
    assert_differs(percent, host.samples(s.graph, s.sample(s.guide(s.model, domain), steps=6)))


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_every_step_gets_the_weight_of_its_share_of_the_sampling(host, minis, family):
    """What the terms weighed, recorded, against the schedule at the share that the host's own table gives for the
    level.
    """
    s = build(minis, family)
    numbers = s.graph.add("DomainGuidanceSchedule", shape="list", list="1, 0, -2", start_percent=0.0, end_percent=1.0)
    model = host.value(
        s.graph, s.guide(s.model, s.load_domain(minis.domain(family, change=trained)), weight=1.5, schedule=numbers)
    )
    steps = []
    observed = host.library("nodes.comfy_host.guidance.observation").observed(model, steps.append)
    sample_directly(host, s, observed)
    sigma_at = model.get_model_object("model_sampling").percent_to_sigma
    assert len(steps) == 5
    for step in steps:
        share = min((number / 4000 for number in range(1, 4000)), key=lambda share: abs(sigma_at(share) - step.sigma))
        assert step.terms[0].weight == pytest.approx(
            1.5 * (1 - 2 * share if share <= 0.5 else -4 * (share - 0.5)), abs=5e-3
        )


def sample_directly(host, s, model):
    import comfy.sample
    import comfy.samplers

    latent, prompts = host.samples(s.graph, s.latent), [host.value(s.graph, link) for link in (s.positive, s.negative)]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 5)
    return comfy.sample.sample_custom(
        model,
        comfy.sample.prepare_noise(latent, 1),
        3.0,
        comfy.samplers.ksampler("euler"),
        sigmas,
        *prompts,
        latent,
        disable_pbar=True,
        seed=1,
    )


def test_the_models_of_a_chain_of_terms_are_one_unet_each(host, minis):
    s = build(minis)
    tuned = s.load(minis.fine_tuned("sd15"))
    chain = term(
        s, term(s, s.model, s.prompt(3), 0.5, term_model=tuned), s.prompt(4), 0.5, term_model=with_lora(s, minis, tuned)
    )
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(chain, seed=211))
    assert len(seen.models()) == 2


@pytest.mark.parametrize("shift", [3.0, 4.03])
def test_the_first_step_of_a_flow_model_is_guided_even_where_its_level_rounds_above_one(host, minis, shift):
    s = build(minis, "sd3")
    base = s.graph.add("ModelSamplingSD3", model=s.model, shift=shift)
    guided = s.guide(base, s.load_domain(minis.domain("sd3", change=trained)))
    assert_differs(
        *(host.samples(s.graph, s.sample(model, steps=1, scheduler="simple")) for model in (guided, base)), 1e-3
    )


def test_where_one_range_ends_the_next_begins_and_no_step_counts_twice(host, minis):
    """At this shift a step falls on the boundary itself."""
    s = build(minis, "sd3")
    base = s.graph.add("ModelSamplingSD3", model=s.model, shift=3.0)
    domain = s.load_domain(minis.domain("sd3", change=trained))
    turns = s.guide(s.guide(base, domain, end_percent=0.5), domain, start_percent=0.5)
    assert_same(
        *(
            host.samples(s.graph, s.sample(model, steps=4, scheduler="simple"))
            for model in (turns, s.guide(base, domain))
        )
    )


def test_with_reference_prompt_a_connected_empty_prompt_is_not_read(host, minis):
    s = build(minis, negative=OTHER)
    tuned = s.load(minis.fine_tuned("sd15"))
    guided = [
        s.guide(s.model, tuned, weight=1.0, reference="prompt", **empty)
        for empty in ({"domain_conditioning": s.prompt(EMPTY)}, {})
    ]
    assert_same(*(host.samples(s.graph, s.sample(model, cfg=1.0)) for model in guided))
