"""Every guider of the host: the term joins what the guider combined, once and unscaled."""

import pytest
from mini_models import trained
from prompts import sample_with_guider
from scenes import EMPTY, OTHER, assert_differs, assert_same, build


def cfg_guider(s, model, cfg=5.0):
    return s.graph.add("CFGGuider", model=model, positive=s.positive, negative=s.negative, cfg=cfg)


def dual_cfg(style):
    def make(s, model, conds=4.0, middle=3.0):
        return s.graph.add(
            "DualCFGGuider",
            model=model,
            cond1=s.positive,
            cond2=s.prompt(3),
            negative=s.negative,
            cfg_conds=conds,
            cfg_cond2_negative=middle,
            style=style,
        )

    return make


def perp_neg(scale):
    def make(s, model):
        return s.graph.add(
            "PerpNegGuider",
            model=model,
            positive=s.positive,
            negative=s.prompt(3),
            empty_conditioning=s.negative,
            cfg=5.0,
            neg_scale=scale,
        )

    return make


def dual_model(s, model, cfg=5.0):
    return s.graph.add(
        "DualModelGuider",
        model=model,
        model_negative=s.load("sd15_tuned.safetensors"),
        positive=s.positive,
        negative=s.negative,
        cfg=cfg,
    )


def basic(s, model):
    return s.graph.add("BasicGuider", model=model, conditioning=s.positive)


GUIDERS = {
    "CFGGuider": cfg_guider,
    "CFGGuider at cfg 1": lambda s, m: cfg_guider(s, m, 1.0),
    "DualCFG regular": dual_cfg("regular"),
    "DualCFG nested": dual_cfg("nested"),
    "PerpNeg": perp_neg(1.0),
    "PerpNeg at scale 0": perp_neg(0.0),
    "DualModelGuider": dual_model,
    "BasicGuider": basic,
}


def run(host, s, model, guider):
    return host.samples(s.graph, sample_with_guider(s.graph, model, guider(s, model), s.latent))


@pytest.mark.parametrize("terms", ["one term", "two terms"])
@pytest.mark.parametrize("negative", [EMPTY, OTHER], ids=["empty negative", "other negative"])
@pytest.mark.parametrize("name", GUIDERS)
def test_an_untrained_domain_changes_nothing_under(host, minis, name, negative, terms):
    minis.fine_tuned("sd15")
    s = build(minis, negative=negative)
    domain = s.load_domain(minis.domain())
    guided = s.guide(s.model, domain)
    if terms == "two terms":
        guided = s.graph.add(
            "DomainGuidanceTerm", model=guided, conditioning=s.prompt(EMPTY), weight=-0.7, term_model=domain
        )
    assert_same(run(host, s, guided, GUIDERS[name]), run(host, s, s.model, GUIDERS[name]))


@pytest.mark.parametrize("name", GUIDERS)
def test_a_trained_domain_acts_under(host, minis, name):
    minis.fine_tuned("sd15")
    s = build(minis)
    guided = s.guide(s.model, s.load_domain(minis.domain(change=trained)))
    assert_differs(run(host, s, guided, GUIDERS[name]), run(host, s, s.model, GUIDERS[name]))


def fed_with(s, minis, prompt, weight=2.0):
    """Guidance whose 'domain' is the base with a prompt: a term that the plain guider can make, too."""
    return s.guide(
        s.model, s.load_domain(minis.domain()), weight=weight, domain_conditioning=prompt, reference="negative"
    )


def test_a_known_term_adds_to_cfg_under_cfg_guider(host, minis):
    s = build(minis)
    assert_same(
        run(host, s, fed_with(s, minis, s.positive), cfg_guider),
        run(host, s, s.model, lambda s, m: cfg_guider(s, m, 7.0)),
    )


def test_a_known_term_makes_cfg_three_out_of_a_guider_without_negative(host, minis):
    """1 + 2 = 3: the subtrahend is the stored empty prompt, because the guider has none."""
    s = build(minis)
    fed = s.guide(s.model, s.load_domain(minis.domain()), weight=2.0, domain_conditioning=s.positive)
    assert_same(run(host, s, fed, basic), run(host, s, s.model, lambda s, m: cfg_guider(s, m, 3.0)))


@pytest.mark.parametrize(
    ("style", "plain"), [("regular", {"conds": 4.0, "middle": 5.0}), ("nested", {"conds": 2.4, "middle": 5.0})]
)
def test_a_known_term_joins_dual_cfg_unscaled(host, minis, style, plain):
    """regular: cfg2 + w. nested: cfg2' = cfg2 + w and cfg1' = cfg1 cfg2 / cfg2', with (cfg1, cfg2, w) = (4, 3, 2)."""
    s = build(minis)
    fed = fed_with(s, minis, s.prompt(3))
    assert_same(run(host, s, fed, dual_cfg(style)), run(host, s, s.model, lambda s, m: dual_cfg(style)(s, m, **plain)))


def test_the_reference_under_dual_model_guider_is_the_base_and_not_the_negative_model(host, minis):
    """One step of the same noise: the term is w (D_domain - D_base) of the base's own empty prompt, from the plain
    results.
    """
    minis.fine_tuned("sd15")
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))

    def one_step(model, guider):
        return host.samples(s.graph, sample_with_guider(s.graph, model, guider, s.latent, steps=1))

    def prediction(model):
        return one_step(model, s.graph.add("BasicGuider", model=model, conditioning=s.negative))

    expected = one_step(s.model, dual_model(s, s.model)) + 2.0 * (prediction(domain) - prediction(s.model))
    guided = s.guide(s.model, domain, weight=2.0)
    assert_same(one_step(guided, dual_model(s, guided)), expected)
