"""What a run costs, counted on the host's own methods: UNet evaluations, and how often weights are loaded."""

import pytest

from mini_models import trained, without_text
from scenes import EMPTY, OTHER, build
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


@pytest.mark.parametrize(("negative", "reference", "expected"), [
    (EMPTY, "auto", 3), (EMPTY, "empty", 3), (EMPTY, "negative", 3), (OTHER, "auto", 4), (OTHER, "empty", 4), (OTHER, "negative", 3)])
def test_the_empty_prompt_is_evaluated_only_where_the_sampler_has_not_done_it(host, minis, negative, reference, expected):
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
    """The host copies the empty negative for the area, with the positive's text attached but not read; the copy is recognised."""
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
    # A base of its own: a hooked prompt of an earlier test gives a cached MODEL a new identity, and the host then reloads it.
    base = s.graph.add("CheckpointLoaderSimple", ckpt_name=minis.checkpoint())
    guided = s.guide(base, domain)
    host.samples(s.graph, s.sample(guided, seed=103))
    host.samples(s.graph, s.sample(base, seed=103))
    with watch_loads() as seen:
        host.samples(s.graph, s.sample(guided, seed=104))
    assert not seen
