"""Results that follow from the formula (arXiv 2312.08195), in the real host's sampler."""

import pytest
import torch
from mini_models import FAMILIES, VARIANTS, trained, without_text
from scenes import EMPTY, OTHER, assert_differs, assert_same, build

FAMILY_NAMES = [name for name in FAMILIES if name not in VARIANTS]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_weight_zero_gives_the_hosts_latent_bit_for_bit(host, minis, family):
    s = build(minis, family, negative=OTHER)
    domain = s.load_domain(minis.domain(family, change=trained))
    plain, guided = s.sample(s.model), s.sample(s.guide(s.model, domain, weight=0.0))
    assert torch.equal(host.samples(s.graph, guided), host.samples(s.graph, plain))


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("negative", [EMPTY, OTHER], ids=["empty negative", "other negative"])
def test_an_untrained_domain_changes_nothing_whatever_the_negative_prompt(host, minis, family, negative):
    s = build(minis, family, negative=negative)
    domain = s.load_domain(minis.domain(family))
    plain, guided = s.sample(s.model), s.sample(s.guide(s.model, domain))
    assert_same(host.samples(s.graph, guided), host.samples(s.graph, plain))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_weight_one_without_prompt_weight_samples_the_domain_model_itself(host, minis, family):
    s = build(minis, family)
    domain = s.load_domain(minis.domain(family, change=trained))
    guided = s.sample(s.guide(s.model, domain, weight=1.0), cfg=0.0)
    alone = s.sample(domain, positive=s.negative, cfg=1.0)
    assert_same(host.samples(s.graph, guided), host.samples(s.graph, alone))
    assert_differs(host.samples(s.graph, guided), host.samples(s.graph, s.sample(s.model, cfg=0.0)))


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("cfg", [5.0, 1.0])
def test_the_base_fed_with_the_positive_prompt_adds_its_weight_to_cfg(host, minis, family, cfg):
    s = build(minis, family)
    copy = s.load_domain(minis.domain(family))
    guided = s.sample(s.guide(s.model, copy, weight=2.0, domain_conditioning=s.positive, reference="negative"), cfg=cfg)
    assert_same(host.samples(s.graph, guided), host.samples(s.graph, s.sample(s.model, cfg=cfg + 2.0)))


@pytest.mark.parametrize("weight", [2.0, -1.5])
def test_two_half_weights_in_a_chain_are_one_weight(host, minis, weight):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    once = s.guide(s.model, domain, weight=weight)
    twice = s.guide(s.guide(s.model, domain, weight=weight / 2), domain, weight=weight / 2)
    assert_same(host.samples(s.graph, s.sample(twice)), host.samples(s.graph, s.sample(once)))


def test_chained_domains_add_their_terms_in_either_order(host, minis):
    s = build(minis, negative=OTHER)
    first, second = (
        s.load_domain(minis.domain(change=trained)),
        s.load_domain(minis.domain(change=without_text, form="text-free")),
    )
    ab = s.guide(s.guide(s.model, first, weight=1.0), second, weight=0.5)
    ba = s.guide(s.guide(s.model, second, weight=0.5), first, weight=1.0)
    only_first = s.guide(s.model, first, weight=1.0)
    assert_same(host.samples(s.graph, s.sample(ab)), host.samples(s.graph, s.sample(ba)))
    assert_differs(host.samples(s.graph, s.sample(ab)), host.samples(s.graph, s.sample(only_first)))


def test_a_domain_model_that_is_the_base_object_itself_vanishes_or_adds_to_cfg(host, minis):
    s = build(minis)
    same = s.guide(s.model, s.model, domain_conditioning=s.prompt(EMPTY))
    fed = s.guide(s.model, s.model, domain_conditioning=s.positive, reference="negative")
    assert_same(host.samples(s.graph, s.sample(same)), host.samples(s.graph, s.sample(s.model)))
    assert_same(host.samples(s.graph, s.sample(fed)), host.samples(s.graph, s.sample(s.model, cfg=7.0)))


def test_a_text_free_domain_does_not_read_the_embedding_it_is_given(host, minis):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=without_text, form="text-free"))
    stored = s.guide(s.model, domain, reference="negative")
    other = s.guide(s.model, domain, reference="negative", domain_conditioning=s.prompt(OTHER))
    assert_same(host.samples(s.graph, s.sample(stored)), host.samples(s.graph, s.sample(other)))
    assert_differs(host.samples(s.graph, s.sample(stored)), host.samples(s.graph, s.sample(s.model)))


def test_a_velocity_domain_guides_a_noise_base_exactly(host, minis):
    """Each model keeps its own parameterisation; both meet as denoised latents."""
    s = build(minis)
    domain = s.graph.add(
        "ModelSamplingDiscrete", model=s.load_domain(minis.domain(change=trained)), sampling="v_prediction", zsnr=False
    )
    guided = s.sample(s.guide(s.model, domain, weight=1.0), cfg=0.0)
    alone = s.sample(domain, positive=s.negative, cfg=1.0)
    assert_same(host.samples(s.graph, guided), host.samples(s.graph, alone))


def test_guidance_only_inside_its_interval(host, minis):
    """Two parts of the schedule make the whole, and the early part alone differs from it."""
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    early = s.guide(s.model, domain, end_percent=0.3)
    both = s.guide(early, domain, start_percent=0.3)
    whole = host.samples(s.graph, s.sample(s.guide(s.model, domain)))
    assert_same(host.samples(s.graph, s.sample(both)), whole)
    assert_differs(host.samples(s.graph, s.sample(early)), whole)


def test_the_reference_model_replaces_the_subtrahend(host, minis):
    """D_domain - D_domain is zero, whatever base is being guided."""
    s = build(minis, negative=OTHER)
    domain = s.load_domain(minis.domain(change=trained))
    reference = s.load(minis.unet("sd15"))
    guided = s.guide(s.load(minis.fine_tuned("sd15")), s.load_domain(minis.domain()), reference_model=reference)
    plain = s.sample(s.load(minis.fine_tuned("sd15")))
    assert_same(host.samples(s.graph, s.sample(guided)), host.samples(s.graph, plain))
    moved = s.guide(s.load(minis.fine_tuned("sd15")), domain, reference_model=reference)
    assert_differs(host.samples(s.graph, s.sample(moved)), host.samples(s.graph, plain))


def test_a_mask_confines_the_term_and_two_complementary_masks_make_the_whole(host, minis):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    left = s.graph.add("ProbeHalfMask")
    right = s.graph.add("InvertMask", mask=left)
    whole = host.samples(s.graph, s.sample(s.guide(s.model, domain)))
    halves = s.guide(s.guide(s.model, domain, mask=left), domain, mask=right)
    assert_same(host.samples(s.graph, s.sample(halves)), whole)
    one_step = {"steps": 1}
    masked = host.samples(s.graph, s.sample(s.guide(s.model, domain, mask=left), **one_step))
    plain = host.samples(s.graph, s.sample(s.model, **one_step))
    assert_same(masked[..., 5:], plain[..., 5:])
    assert_differs(masked[..., :3], plain[..., :3])


def test_a_prompt_that_is_not_the_empty_one_moves_the_term_only_with_reference_negative(host, minis):
    """The rule of a fair term: the fast choice leaks the negative prompt, the default does not."""
    s = build(minis, negative=OTHER)
    domain = s.load_domain(minis.domain())
    plain = host.samples(s.graph, s.sample(s.model))
    for reference in ("auto", "empty"):
        assert_same(host.samples(s.graph, s.sample(s.guide(s.model, domain, reference=reference))), plain)
    assert_differs(host.samples(s.graph, s.sample(s.guide(s.model, domain, reference="negative"))), plain)
