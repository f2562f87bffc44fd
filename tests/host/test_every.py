"""Terms that are evaluated on every n-th step and held between: the formula, the cost, and what a report says of it."""

import pytest
import torch
from by_hand import EULER_STEPS, ByHand
from mini_models import trained, without_text
from prompts import SAMPLING
from scenes import EMPTY, OTHER, assert_differs, assert_same, build
from side_scenes import load, side_network
from watchers import watch_evaluations

CFG, WEIGHT, STEPS = 4.0, 1.5, 6


@pytest.fixture
def scene(minis):
    s = build(minis, negative=OTHER)
    return s, s.load_domain(minis.domain(change=trained))


@pytest.mark.parametrize("every", [1, 2, EULER_STEPS])
def test_what_is_added_on_the_steps_between_is_the_last_evaluated_term(host, scene, every):
    s, domain = scene
    prompts = {"positive": s.positive, "negative": s.negative, "empty": s.prompt(EMPTY)}
    hand, steps = ByHand(host, s, {"base": s.model, "domain": domain}, prompts), []

    def formula(d, sigma):
        if len(steps) % every == 0:
            formula.term = WEIGHT * (d("domain", "empty") - d("base", "empty"))
        steps.append(sigma)
        return d("base", "negative") + CFG * (d("base", "positive") - d("base", "negative")) + formula.term

    expected = hand.sample(host.samples(s.graph, s.latent), formula)
    found = host.samples(s.graph, s.sample(s.guide(s.model, domain, weight=WEIGHT, every=every), cfg=CFG))
    assert_same(found, expected)


@pytest.mark.parametrize(("every", "evaluated"), [(1, 6), (2, 3), (4, 2), (100, 1)])
def test_a_held_step_costs_what_a_plain_one_does(host, scene, every, evaluated):
    """With another negative prompt, a term takes two evaluations: the domain's and the empty prompt's."""
    s, domain = scene
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(s.guide(s.model, domain, every=every), steps=STEPS))
    assert seen.elements() == 2 * STEPS + 2 * evaluated


def test_each_of_two_domains_is_held_by_its_own_number(host, minis, scene):
    s, domain = scene
    other = s.load_domain(minis.domain(form="text-free", change=without_text))
    with watch_evaluations() as seen:
        both = s.guide(s.guide(s.model, domain, every=2), other, every=3)
        host.samples(s.graph, s.sample(both, steps=STEPS))
    # steps 0, 2, 4 and 0, 3; the shared empty prompt is asked on steps 0, 2, 3, 4
    assert seen.elements() == 2 * STEPS + 3 + 2 + 4


def test_a_sampler_that_asks_twice_a_step_asks_the_term_in_whole_steps(host, scene):
    s, domain = scene
    latents = []
    for every in (1, 2):
        with watch_evaluations() as seen:
            guided = s.guide(s.model, domain, every=every)
            latents.append(host.samples(s.graph, s.sample(guided, steps=STEPS, sampler_name="dpm_2")))
        # Two questions a step but the last; of six steps, the even ones bring the term's two evaluations.
        asked = 2 * STEPS - 1
        assert seen.elements() == 2 * asked + 2 * (asked if every == 1 else STEPS)
    assert_differs(*latents)


def test_a_side_network_is_held_too(host, minis):
    s = build(minis)
    side = load(s, side_network(host, minis))
    often, seldom = (host.samples(s.graph, s.sample(s.guide(s.model, side, every=n), steps=STEPS)) for n in (1, 100))
    assert_differs(often, seldom)
    assert_differs(seldom, host.samples(s.graph, s.sample(s.model, steps=STEPS)))


@pytest.mark.parametrize(
    ("sampler", "every", "warned"),
    [("euler", 2, False), ("dpmpp_2m", 2, False), ("euler_ancestral", 2, True), ("lcm", 2, True), ("lcm", 1, False)],
)
def test_a_sampler_with_new_noise_at_each_step_is_named_where_a_term_is_held(
    host, scene, caplog, sampler, every, warned
):
    s, domain = scene
    host.samples(s.graph, s.sample(s.guide(s.model, domain, every=every), sampler_name=sampler))
    assert ("may add new noise at each step" in caplog.text) == warned


def reported(s, model, **changes):
    links = {"positive": s.positive, "negative": s.negative, "latent_image": s.latent}
    return s.graph.add("DomainGuidanceReport", model=model, **links, **{**SAMPLING, **changes})


def test_a_report_samples_the_held_term_and_says_how_far_it_has_moved(host, scene):
    s, domain = scene
    settings = {"cfg": CFG, "steps": STEPS}
    texts = {}
    for every in (1, 2):
        guided = s.guide(s.model, domain, every=every)
        node = reported(s, guided, **settings)
        assert torch.equal(host.samples(s.graph, node), host.samples(s.graph, s.sample(guided, **settings)))
        texts[every] = host.value(s.graph, node[2])
    assert "held terms had moved by" in texts[2] and "held terms" not in texts[1]
