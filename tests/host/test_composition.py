"""The node beside everything else that patches a model, a prompt or a latent (the composition matrix).

Every row is asked three things: an untrained domain changes nothing (the zero term), a trained one does change the
picture, and it does not matter which of the two nodes comes first. Token merging (TomePatchModel) has no row: it draws
other tokens on every call, so no two evaluations of it are equal.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from mini_models import trained
from scenes import EMPTY, OTHER, assert_differs, assert_same, build, control
from watchers import watch_evaluations


@dataclass
class Row:
    """`patch(scene, model, minis)` answers with the patched model; `setup` prepares prompts and latent of the scene."""

    name: str
    patch: Callable = lambda s, model, minis: model
    setup: Callable = lambda s, minis: None
    family: str = "sd15"
    scene: dict = field(default_factory=dict)
    sampling: dict = field(default_factory=dict)


def node(class_type, **inputs):
    return lambda s, model, minis: s.graph.add(class_type, model=model, **inputs)


def lora(s, model, minis):
    return s.graph.add("LoraLoaderModelOnly", model=model, lora_name=minis.lora(), strength_model=1.0)


def legacy_control(s, minis):
    s.positive = s.graph.add(
        "ControlNetApply",
        conditioning=s.positive,
        image=s.graph.add("ProbeImage", seed=3),
        control_net=s.graph.add("ControlNetLoader", control_net_name=minis.controlnet()),
    )


def regions(s, minis):
    mask = s.graph.add("ProbeHalfMask", height=128, width=128)
    left = s.graph.add("ConditioningSetMask", conditioning=s.positive, mask=mask, set_cond_area="mask bounds")
    corner = s.graph.add("ConditioningSetArea", conditioning=s.prompt(5), width=64, height=64, x=64, y=64, strength=0.8)
    late = s.graph.add("ConditioningSetTimestepRange", conditioning=s.prompt(6), start=0.3, end=1.0)
    some = s.graph.add("ConditioningCombine", conditioning_1=left, conditioning_2=corner)
    s.positive = s.graph.add("ConditioningCombine", conditioning_1=some, conditioning_2=late)


def one_prompt_in_two_areas(s, minis):
    """The positive prompt everywhere and again in a corner: the host then crops the negative there, too."""
    corner = s.graph.add("ConditioningSetArea", conditioning=s.positive, width=64, height=64, x=64, y=64, strength=0.8)
    s.positive = s.graph.add("ConditioningCombine", conditioning_1=s.positive, conditioning_2=corner)


def regional_negative(s, minis):
    mask = s.graph.add("ProbeHalfMask", height=128, width=128)
    left = s.graph.add("ConditioningSetMask", conditioning=s.negative, mask=mask)
    right = s.graph.add("ConditioningSetMask", conditioning=s.prompt(OTHER), mask=s.graph.add("InvertMask", mask=mask))
    s.negative = s.graph.add("ConditioningCombine", conditioning_1=left, conditioning_2=right)


def negative_in_two_times(s, minis):
    early = s.graph.add("ConditioningSetTimestepRange", conditioning=s.negative, start=0.0, end=0.4)
    late = s.graph.add("ConditioningSetTimestepRange", conditioning=s.prompt(OTHER), start=0.4, end=1.0)
    s.negative = s.graph.add("ConditioningCombine", conditioning_1=early, conditioning_2=late)


def lora_hook(s, minis):
    hook = s.graph.add("CreateHookLora", lora_name=minis.lora(), strength_model=1.0, strength_clip=0.0)
    s.positive = s.graph.add("ConditioningSetProperties", cond_NEW=s.positive, hooks=hook)


def noise_mask(s, minis):
    s.latent = s.graph.add("SetLatentNoiseMask", samples=s.latent, mask=s.graph.add("ProbeHalfMask"))


def inpaint_conditioning(s, minis):
    vae = s.graph.add("CheckpointLoaderSimple", ckpt_name=minis.checkpoint())[2]
    ready = s.graph.add(
        "InpaintModelConditioning",
        positive=s.positive,
        negative=s.negative,
        vae=vae,
        pixels=s.graph.add("ProbeImage", seed=4),
        mask=s.graph.add("ProbeHalfMask"),
        noise_mask=True,
    )
    s.positive, s.negative, s.latent = ready[0], ready[1], ready[2]


LARGE = {"size": (16, 16)}
IMAGE = {"latent_seed": 9}
MIDDLE = {"family": "sd15_middle"}
ROWS = [
    Row("RescaleCFG", node("RescaleCFG")),
    Row("APG", node("APG", norm_threshold=5.0)),
    Row("TCFG", node("TCFG")),
    Row("CFGNorm", node("CFGNorm", strength=0.9)),
    Row("CFGZeroStar", node("CFGZeroStar")),
    Row("Mahiro", node("Mahiro")),
    Row("Epsilon Scaling", node("Epsilon Scaling", scaling_factor=1.05)),
    Row(
        "PerpNeg patch",
        lambda s, m, minis: s.graph.add("PerpNeg", model=m, empty_conditioning=s.prompt(EMPTY), neg_scale=0.7),
    ),
    Row("FreeU_V2", node("FreeU_V2"), **MIDDLE),
    Row("PerturbedAttentionGuidance", node("PerturbedAttentionGuidance"), **MIDDLE),
    Row("SelfAttentionGuidance", node("SelfAttentionGuidance"), **MIDDLE, scene=LARGE),
    Row("HyperTile", node("HyperTile", tile_size=64), scene=LARGE),
    Row(
        "DifferentialDiffusion",
        node("DifferentialDiffusion", strength=1.0),
        noise_mask,
        scene=IMAGE,
        sampling={"denoise": 0.6},
    ),
    Row("EasyCache", node("EasyCache")),
    Row("CFGOverride", node("CFGOverride", cfg=2.0, start_percent=0.0, end_percent=0.5)),
    Row("LoRA", lora),
    Row("LoRA hook on the positive prompt", setup=lora_hook),
    Row("ControlNet on both prompts", setup=control),
    Row("ControlNet, legacy node", setup=legacy_control),
    Row("ControlNet in a range", setup=lambda s, minis: control(s, minis, start_percent=0.1, end_percent=0.7)),
    Row("ControlNet, batch 3", setup=control, scene={"batch": 3}),
    Row("batch 3", scene={"batch": 3, "size": (13, 13)}),
    Row("mask, area and time range, batch 2", setup=regions, scene={"batch": 2, **LARGE}),
    Row("one prompt in two areas", setup=one_prompt_in_two_areas, scene=LARGE),
    Row("regional negative prompt", setup=regional_negative, scene=LARGE),
    Row("negative prompt in two times", setup=negative_in_two_times),
    Row("noise mask", setup=noise_mask, scene=IMAGE, sampling={"denoise": 0.6}),
    Row("9-channel inpainting", setup=inpaint_conditioning, family="sd15_inpaint", sampling={"denoise": 0.9}),
    Row("cfg 1", sampling={"cfg": 1.0}),
]


def ids(row):
    return row.name


def prepared(minis, row, negative=EMPTY):
    s = build(minis, row.family, negative=negative, **row.scene)
    row.setup(s, minis)
    return s


def term(s, model, seed, weight, **inputs):
    return s.graph.add("DomainGuidanceTerm", model=model, conditioning=s.prompt(seed), weight=weight, **inputs)


def one(s, model, domain):
    return s.guide(model, domain)


def domain_and_its_term(s, model, domain):
    """The domain once as such and once as what reads a term's empty prompt: twice nothing, if it is untrained."""
    return term(s, s.guide(model, domain), EMPTY, -0.7, term_model=domain)


def domain_and_prompt(s, model, domain):
    return term(s, s.guide(model, domain), 3, 0.7)


def in_order(row, s, minis, terms, domain, node_first):
    """The guided model with the nodes before or after the row's patch."""
    if node_first:
        return row.patch(s, terms(s, s.model, domain), minis)
    return terms(s, row.patch(s, s.model, minis), domain)


@pytest.mark.parametrize("terms", [one, domain_and_its_term], ids=["one term", "two terms"])
@pytest.mark.parametrize("negative", [EMPTY, OTHER], ids=["empty negative", "other negative"])
@pytest.mark.parametrize("node_first", [True, False], ids=["node first", "node last"])
@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_an_untrained_domain_changes_nothing_beside(host, minis, row, node_first, negative, terms):
    s = prepared(minis, row, negative)
    domain = s.load_domain(minis.domain(row.family))
    if row.name == "LoRA":  # a patched base is another base: the untrained domain must carry the same patch
        domain = lora(s, domain, minis)
    plain = s.sample(row.patch(s, s.model, minis), **row.sampling)
    guided = s.sample(in_order(row, s, minis, terms, domain, node_first), **row.sampling)
    assert_same(host.samples(s.graph, guided), host.samples(s.graph, plain))


@pytest.mark.parametrize("terms", [one, domain_and_prompt], ids=["one term", "two terms"])
@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_a_trained_domain_acts_and_the_order_of_the_nodes_does_not_matter_beside(host, minis, row, terms):
    s = prepared(minis, row)
    domain = s.load_domain(minis.domain(row.family, change=trained))
    first, last = (
        host.samples(s.graph, s.sample(in_order(row, s, minis, terms, domain, order), **row.sampling))
        for order in (True, False)
    )
    plain = host.samples(s.graph, s.sample(row.patch(s, s.model, minis), **row.sampling))
    assert_same(first, last)
    assert_differs(first, plain)


@pytest.mark.parametrize(
    "row",
    [
        r
        for r in ROWS
        if r.name
        in (
            "ControlNet on both prompts",
            "ControlNet in a range",
            "ControlNet, batch 3",
            "batch 3",
            "FreeU_V2",
            "HyperTile",
            "noise mask",
            "one prompt in two areas",
            "DifferentialDiffusion",
            "9-channel inpainting",
            "cfg 1",
        )
    ],
    ids=ids,
)
@pytest.mark.parametrize("terms", ["one term", "two terms"])
def test_the_base_fed_with_the_positive_prompt_adds_its_weight_to_cfg_beside(host, minis, row, terms):
    """These rows treat both prompts alike, so the term is known exactly: (cfg + weight) in the plain graph."""
    s = prepared(minis, row)
    copy, weight = s.load_domain(minis.domain(row.family)), 2.0 if terms == "one term" else 1.2
    guided = s.guide(row.patch(s, s.model, minis), copy, weight, domain_conditioning=s.prompt(1), reference="negative")
    if terms == "two terms":
        guided = term(s, guided, 1, 0.8)
    cfg = row.sampling.get("cfg", 5.0)
    plain = s.sample(row.patch(s, s.model, minis), **{**row.sampling, "cfg": cfg + 2.0})
    assert_same(host.samples(s.graph, s.sample(guided, **row.sampling)), host.samples(s.graph, plain))


def test_lazy_cache_leaves_the_zero_term_alone(host, minis):
    """LazyCache stores whole predictions: with a trained domain the order of the nodes decides what it stores."""
    s = build(minis)
    cached = s.graph.add("LazyCache", model=s.model)
    guided = s.guide(cached, s.load_domain(minis.domain()))
    assert_same(host.samples(s.graph, s.sample(guided)), host.samples(s.graph, s.sample(cached)))


@pytest.mark.parametrize("control_side", ["same", "none"])
def test_control_on_both_sides_or_on_neither_keeps_the_term_a_pure_domain_difference(host, minis, control_side):
    s = build(minis)
    control(s, minis, strength=1.0)
    guided = s.guide(s.model, s.load_domain(minis.domain()), control=control_side)
    plain = host.samples(s.graph, s.sample(s.model))
    assert_same(host.samples(s.graph, s.sample(guided)), plain)
    without = build(minis)
    assert_differs(plain, host.samples(without.graph, without.sample(without.model)))


def test_control_none_and_control_same_are_two_different_terms(host, minis):
    s = build(minis)
    control(s, minis, strength=1.0)
    domain = s.load_domain(minis.domain(change=trained))
    same, none = (host.samples(s.graph, s.sample(s.guide(s.model, domain, control=side))) for side in ("same", "none"))
    assert_differs(same, none)


def test_a_node_that_edits_the_raw_predictions_in_place_does_not_reach_the_term(host, minis):
    """Pre-cfg functions get the host's own tensors; what the term subtracts was copied before."""
    s = build(minis)
    edited = s.graph.add("ProbeEditInPlace", model=s.model)
    guided = s.guide(edited, s.load_domain(minis.domain()))
    plain = host.samples(s.graph, s.sample(edited))
    assert_same(host.samples(s.graph, s.sample(guided)), plain)
    assert_differs(plain, host.samples(s.graph, s.sample(s.model)))


def test_a_mirrored_time_range_is_evaluated_only_in_its_time(host, minis):
    """Prompt, negative, domain and its empty prompt: four, though the negative prompt has two entries."""
    s = build(minis)
    negative_in_two_times(s, minis)
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(s.guide(s.model, s.load_domain(minis.domain(change=trained))), seed=201))
    assert seen.elements(1, 3) == 4


def test_inpainting_leaves_the_kept_half_of_the_latent_as_it_was(host, minis):
    s = build(minis, latent_seed=9)
    kept = host.samples(s.graph, s.latent)
    noise_mask(s, minis)
    guided = host.samples(s.graph, s.sample(s.guide(s.model, s.load_domain(minis.domain(change=trained))), denoise=0.6))
    assert_same(guided[..., 5:], kept[..., 5:], 1e-6)
    assert_differs(guided[..., :3], kept[..., :3])


def test_a_nine_channel_inpainting_base_takes_a_four_channel_domain(host, minis):
    """Each network sees its own input channels; a domain of weight 1 over cfg 0 is the domain model itself inside of
    the mask.
    """
    s = build(minis, "sd15_inpaint")
    inpaint_conditioning(s, minis)
    domain = s.load_domain(minis.domain("sd15", change=trained))
    guided = host.samples(s.graph, s.sample(s.guide(s.model, domain, weight=1.0), cfg=0.0))
    alone = host.samples(s.graph, s.sample(domain, positive=s.negative, cfg=1.0))
    assert_same(guided, alone)


SAMPLERS = [
    "euler",
    "euler_ancestral",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "uni_pc",
    "heun",
    "lcm",
    "ddim",
    "er_sde",
    "euler_cfg_pp",
    "dpmpp_2m_cfg_pp",
    "res_multistep_cfg_pp",
]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_leaves_the_zero_term_alone_and_adds_a_known_term_exactly(host, minis, sampler):
    s = build(minis)
    copy = s.load_domain(minis.domain())

    def samples(model, cfg=3.0):
        return host.samples(s.graph, s.sample(model, sampler_name=sampler, cfg=cfg))

    assert_same(samples(s.guide(s.model, copy)), samples(s.model))
    assert_same(
        samples(s.guide(s.model, copy, weight=1.0, domain_conditioning=s.positive, reference="negative")),
        samples(s.model, cfg=4.0),
    )
