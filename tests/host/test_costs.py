"""What a run costs, counted on the host's own methods: UNet evaluations, and how often weights are loaded."""

from contextlib import contextmanager
from unittest.mock import patch

import pytest
from mini_models import trained, without_text
from scenes import EMPTY, OTHER, assert_same, build, control
from watchers import watch_evaluations, watch_loads

STEPS, BATCH = 3, 2


def evaluations_per_step(host, s, model, **sampling):
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(model, steps=STEPS, **sampling), fresh=True)
    return seen.elements(BATCH, STEPS)


def scene(minis, negative=EMPTY):
    s = build(minis, negative=negative, batch=BATCH)
    return s, s.load_domain(minis.domain(change=trained))


@pytest.mark.parametrize("change", [trained, without_text], ids=["text-based", "text-free"])
def test_unconditional_sampling_costs_two_evaluations_not_three(host, minis, change):
    """cfg 1 and a positive prompt that is the stored empty one: its own prediction is the subtrahend."""
    s, _ = scene(minis)
    domain = s.load_domain(minis.domain(change=change, form="text-free" if change is without_text else "text-based"))
    assert evaluations_per_step(host, s, s.guide(s.model, domain), positive=s.prompt(EMPTY), cfg=1.0) == 2


@pytest.mark.parametrize(
    ("negative", "reference", "expected"),
    [
        (EMPTY, "auto", 3),
        (EMPTY, "empty", 3),
        (EMPTY, "negative", 3),
        (OTHER, "auto", 4),
        (OTHER, "empty", 4),
        (OTHER, "negative", 3),
    ],
)
def test_the_empty_prompt_is_evaluated_only_where_the_sampler_has_not_done_it(
    host, minis, negative, reference, expected
):
    s, domain = scene(minis, negative)
    assert evaluations_per_step(host, s, s.guide(s.model, domain, reference=reference)) == expected


def test_prompted_sampling_at_cfg_one_costs_three(host, minis):
    s, domain = scene(minis)
    assert evaluations_per_step(host, s, s.guide(s.model, domain), cfg=1.0) == 3


@pytest.mark.parametrize(("negative", "expected"), [(EMPTY, 4), (OTHER, 5)])
def test_two_chained_domains_share_one_reference(host, minis, negative, expected):
    s, domain = scene(minis, negative)
    other = s.load_domain(minis.domain(change=without_text, form="text-free"))
    assert evaluations_per_step(host, s, s.guide(s.guide(s.model, domain), other)) == expected


def test_an_area_prompt_adds_its_own_evaluations_and_no_second_reference(host, minis):
    """The host copies the empty negative for the area, with the positive's text attached but not read; the copy is
    recognised.
    """
    s = build(minis, batch=BATCH, size=(16, 16))
    domain = s.load_domain(minis.domain(change=trained))
    corner = s.graph.add("ConditioningSetArea", conditioning=s.prompt(3), width=64, height=64, x=64, y=64, strength=1.0)
    both = s.graph.add("ConditioningCombine", conditioning_1=s.positive, conditioning_2=corner)
    with watch_evaluations() as plain:
        host.samples(s.graph, s.sample(s.model, steps=STEPS, positive=both), fresh=True)
    with watch_evaluations() as guided:
        host.samples(s.graph, s.sample(s.guide(s.model, domain), steps=STEPS, positive=both), fresh=True)
    assert (plain.elements(BATCH, STEPS), guided.elements(BATCH, STEPS)) == (4, 6)


def test_weight_zero_and_an_unconnected_node_cost_what_the_plain_graph_costs(host, minis):
    s, domain = scene(minis)
    assert evaluations_per_step(host, s, s.guide(s.model, domain, weight=0.0)) == 2
    assert evaluations_per_step(host, s, s.model) == 2


def test_outside_of_its_interval_the_domain_is_not_evaluated(host, minis):
    """Three steps at percent 0, 1/2 and 1: an interval up to 0.3 holds the first."""
    s, domain = scene(minis)
    assert evaluations_per_step(host, s, s.guide(s.model, domain, end_percent=0.3)) == pytest.approx((3 + 2 + 2) / 3)


def term(s, model, seed, weight=1.0, **inputs):
    return s.graph.add("DomainGuidanceTerm", model=model, conditioning=s.prompt(seed), weight=weight, **inputs)


@pytest.mark.parametrize(
    ("seed", "minus", "expected"), [(1, None, 2), (3, None, 3), (3, 4, 4), (1, OTHER, 2), (3, 1, 3), (OTHER, 1, 2)]
)
def test_a_term_of_the_samplers_own_prompts_is_free(host, minis, seed, minus, expected):
    """The sampler's positive prompt has seed 1, its negative the seed of OTHER."""
    s, _ = scene(minis, OTHER)
    inputs = {} if minus is None else {"minus": s.prompt(minus)}
    assert evaluations_per_step(host, s, term(s, s.model, seed, **inputs)) == expected


def test_terms_of_one_model_and_prompt_are_evaluated_once(host, minis):
    s, domain = scene(minis)
    left = s.graph.add("ProbeHalfMask")
    chain = s.guide(term(s, term(s, s.model, 3, 2.0, mask=left), 3, -0.5, minus=s.prompt(4)), domain)
    chain = s.guide(term(s, chain, EMPTY, 0.3, term_model=domain), domain, mask=left)
    assert evaluations_per_step(host, s, chain) == 2 + 2 + 1


def test_terms_of_two_prompts_do_not_share_even_if_they_differ_by_little(host, minis):
    s, _ = scene(minis)
    nearly = s.graph.add(
        "ConditioningAverage",
        conditioning_to=s.prompt(3),
        conditioning_from=s.prompt(4),
        conditioning_to_strength=0.999,
    )
    near = s.graph.add("DomainGuidanceTerm", model=s.model, conditioning=nearly, weight=1.0, minus=s.prompt(3))
    assert evaluations_per_step(host, s, near) == 4
    like_the_positive = s.graph.add(
        "ConditioningAverage", conditioning_to=s.positive, conditioning_from=s.prompt(4), conditioning_to_strength=0.999
    )
    assert evaluations_per_step(host, s, term(s, s.model, 3, minus=like_the_positive)) == 4


def test_a_step_whose_schedule_is_zero_costs_nothing(host, minis):
    """Three steps at percent 0, 1/2 and 1: a line from 1 to 0 at 1/2 leaves the first, an interval from 0.4 to 0.6 the
    second.
    """
    s, domain = scene(minis)
    fading = s.graph.add(
        "DomainGuidanceSchedule", shape="linear", first=1.0, last=0.0, start_percent=0.0, end_percent=0.45
    )
    middle = s.graph.add("DomainGuidanceSchedule", shape="interval", first=1.0, start_percent=0.4, end_percent=0.6)
    for schedule in (fading, middle):
        assert evaluations_per_step(host, s, s.guide(s.model, domain, schedule=schedule)) == pytest.approx(
            (3 + 2 + 2) / 3
        )


def test_reference_prompt_at_cfg_one_costs_two(host, minis):
    s, domain = scene(minis)
    assert evaluations_per_step(host, s, s.guide(s.model, domain, reference="prompt"), cfg=1.0) == 2


def test_a_mask_is_brought_to_the_latents_size_once_per_run(host, minis):
    s, domain = scene(minis)
    guided = s.guide(s.model, domain, mask=s.graph.add("ProbeHalfMask"))
    masks = host.library("nodes.comfy_host.guidance.masks")
    with patch.object(masks, "prepare_mask", wraps=masks.prepare_mask) as prepared:
        host.samples(s.graph, s.sample(guided, steps=STEPS), fresh=True)
    assert prepared.call_count == 1


@contextmanager
def watch_controls():
    """Pictures that went into ControlNets; a batch counts each of its members."""
    import comfy.cldm.cldm

    seen, original = [], comfy.cldm.cldm.ControlNet.forward

    def watched(self, x, *args, **kwargs):
        seen.append(len(x))
        return original(self, x, *args, **kwargs)

    with patch.object(comfy.cldm.cldm.ControlNet, "forward", watched):
        yield seen


def controls_per_step(host, s, model, **sampling):
    with watch_controls() as seen:
        result = host.samples(s.graph, s.sample(model, steps=STEPS, **sampling), fresh=True)
    return sum(seen) / (BATCH * STEPS), result


@pytest.mark.parametrize(("negative", "expected"), [(EMPTY, 2), (OTHER, 3)])
def test_a_controlnet_answers_once_per_prompt_and_step_however_many_terms_ask(
    host, minis, monkeypatch, negative, expected
):
    """Positive and negative, and the empty prompt if that is another: what the reference was given serves the
    domains.
    """
    s, domain = scene(minis, negative)
    control(s, minis, strength=1.0)
    chain = s.guide(s.guide(s.model, domain), s.load_domain(minis.domain(change=without_text, form="text-free")))
    shared, result = controls_per_step(host, s, chain)
    memory = host.library("nodes.comfy_host.guidance.shared_control").ControlMemory
    monkeypatch.setattr(memory, "find", lambda *_: None)
    apart, expected_result = controls_per_step(host, s, chain)
    assert (shared, apart) == (expected, expected + 2)
    assert_same(result, expected_result, 1e-6)


@pytest.mark.parametrize("kind", ["two in a chain", "in a range", "regional"])
def test_shared_answers_of_controlnets_change_nothing(host, minis, monkeypatch, kind):
    s, domain = scene(minis, OTHER)
    if kind == "regional":
        mask = s.graph.add("ProbeHalfMask")
        s.positive = s.graph.add("ConditioningSetMask", conditioning=s.positive, mask=mask, set_cond_area="mask bounds")
    control(s, minis, **({"start_percent": 0.1, "end_percent": 0.7} if kind == "in a range" else {"strength": 0.8}))
    if kind == "two in a chain":
        control(s, minis, strength=0.5)
    guided = s.guide(s.model, domain)
    shared, result = controls_per_step(host, s, guided)
    monkeypatch.setattr(host.library("nodes.comfy_host.guidance.shared_control").ControlMemory, "find", lambda *_: None)
    apart, expected = controls_per_step(host, s, guided)
    assert shared < apart
    assert_same(result, expected, 1e-6)


def test_a_controlnet_with_another_text_is_not_shared(host, minis):
    """A ControlNet reads the prompt: a term of another prompt has its own answer."""
    s, _ = scene(minis)
    control(s, minis, strength=1.0)
    assert controls_per_step(host, s, term(s, s.model, 3))[0] == 3


def test_both_models_are_loaded_once_and_not_again_on_the_second_run(host, minis):
    import comfy.model_management

    comfy.model_management.unload_all_models()
    s, domain = scene(minis)
    guided = s.guide(s.model, domain)
    with watch_loads() as first:
        host.samples(s.graph, s.sample(guided, seed=101))
    with watch_loads() as second:
        host.samples(s.graph, s.sample(guided, seed=102))
    assert sorted(first.values()) == [1, 1]
    assert not second, "loaded again"


def test_a_plain_run_in_between_does_not_unload_the_domain(host, minis):
    s, domain = scene(minis)
    # A base of its own: a hooked prompt of an earlier test gives a cached MODEL a new identity, and the host then
    # reloads it.
    base = s.graph.add("CheckpointLoaderSimple", ckpt_name=minis.checkpoint())
    guided = s.guide(base, domain)
    host.samples(s.graph, s.sample(guided, seed=103))
    host.samples(s.graph, s.sample(base, seed=103))
    with watch_loads() as seen:
        host.samples(s.graph, s.sample(guided, seed=104))
    assert not seen


def test_two_prompts_that_are_nearly_one_do_not_share_a_controlnets_answer(host, minis, monkeypatch):
    s = build(minis, negative=OTHER, batch=BATCH)
    control(s, minis, strength=1.0)
    near = s.graph.add(
        "ConditioningAverage",
        conditioning_to=s.prompt(3),
        conditioning_from=s.prompt(4),
        conditioning_to_strength=0.995,
    )
    slider = s.graph.add("DomainGuidanceTerm", model=s.model, conditioning=near, weight=20.0, minus=s.prompt(3))
    _, shared = controls_per_step(host, s, slider)
    monkeypatch.setattr(host.library("nodes.comfy_host.guidance.shared_control").ControlMemory, "find", lambda *_: None)
    _, asked_each_time = controls_per_step(host, s, slider)
    assert_same(shared, asked_each_time)
