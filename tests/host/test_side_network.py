"""A side network in the real host's sampler: the oracles of every domain, at no evaluation of its own."""

import functools
import logging

import pytest
import side_scenes
import torch
from domain_adapters import domain_adapter
from messages import refusal
from mini_models import trained
from scenes import EMPTY, OTHER, assert_differs, assert_one_sentence, assert_same, build, control
from side_scenes import load
from test_composition import ROWS, ids, in_order, one, prepared
from test_costs import evaluations_per_step
from training_scenes import Training, register
from watchers import watch_evaluations, watch_loads

FAMILIES = ["sd15", "sd20", "sdxl", "sd3", "flux"]


@pytest.fixture
def side(host, minis):
    return functools.partial(side_scenes.side_network, host, minis)


def samples(host, s, model, **sampling):
    return host.samples(s.graph, s.sample(model, **sampling))


# --- what follows from the formula -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cfg", [5.0, 1.0])
def test_weight_zero_and_an_untrained_network_give_the_hosts_latent_bit_for_bit(host, minis, side, family, cfg):
    s = build(minis, family, negative=OTHER)
    plain = samples(host, s, s.model, cfg=cfg)
    off = s.guide(s.model, load(s, side(family)), weight=0.0)
    untrained = s.guide(s.model, load(s, side(family, seed=None)))
    for guided in (off, untrained):
        assert torch.equal(samples(host, s, guided, cfg=cfg), plain)
    assert_differs(samples(host, s, s.guide(s.model, load(s, side(family))), cfg=cfg), plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_domains_prediction_is_the_librarys_correction_of_the_bases(host, minis, side, family):
    s = build(minis, family)
    name, library = side(family), host.library("domain_guidance.side_networks")
    file = library.read_side_file(minis.root / "side_networks" / name)
    step = observed(host, s, s.guide(s.model, load(s, name), weight=1.5))
    (term,) = step.terms
    expected = library.corrected(
        file.network, step.x, torch.full((len(step.x),), step.sigma), term.reference, file.card.prediction
    )
    assert_same(term.prediction, expected)
    assert_differs(term.prediction, term.reference, at_least=1e-3)


def observed(host, s, guided, cfg=5.0):
    """The first evaluation of a run: the sampler's prediction and the terms."""
    seen = []
    model = host.library("nodes.comfy_host.guidance.observation").observed(host.value(s.graph, guided), seen.append)
    positive, negative, latent = (host.value(s.graph, link) for link in (s.positive, s.negative, s.latent))
    sampling = host.library("nodes.comfy_host.sampling").Sampling
    sampling(7, 1, "euler", "normal", positive, negative, latent)(model, cfg)
    return seen[0]


@pytest.mark.parametrize("weight", [2.0, -1.5])
def test_two_half_weights_in_a_chain_are_one_weight(host, minis, side, weight):
    s = build(minis)
    domain = load(s, side())
    once = s.guide(s.model, domain, weight=weight)
    twice = s.guide(s.guide(s.model, domain, weight=weight / 2), domain, weight=weight / 2)
    assert_same(samples(host, s, twice), samples(host, s, once))


@pytest.mark.parametrize("negative", [EMPTY, OTHER], ids=["empty negative", "other negative"])
def test_it_chains_with_whole_domains_adapters_and_terms_in_any_order(host, minis, side, negative):
    s = build(minis, negative=negative)
    small, whole = load(s, side()), s.load_domain(minis.domain(change=trained))

    def chained(order):
        model = s.model
        for add in order:
            model = add(model)
        return samples(host, s, model)

    steps = [
        lambda model: s.guide(model, small, weight=1.0),
        lambda model: s.guide(model, whole, weight=0.5),
        lambda model: s.graph.add("DomainGuidanceTerm", model=model, conditioning=s.prompt(3), weight=0.7),
    ]
    result = chained(steps)
    assert_same(chained(steps[::-1]), result)
    assert_differs(chained(steps[1:]), result)


def test_a_mask_keeps_the_rest_of_the_first_prediction_the_bases(host, minis, side):
    s = build(minis, size=(16, 16))
    mask = s.graph.add("ProbeHalfMask", height=128, width=128)
    guided = s.guide(s.model, load(s, side()), mask=mask)
    pull = observed(host, s, guided).terms[0].contribution()
    white = bool(host.value(s.graph, mask).reshape(128, 128)[0, 0] > 0.5)
    inside, outside = (pull[..., :8], pull[..., 8:]) if white else (pull[..., 8:], pull[..., :8])
    assert inside.abs().max() > 0 and outside.abs().max() == 0


# --- beside everything else ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_an_untrained_network_changes_no_bit_and_the_order_of_nodes_does_not_matter_beside(host, minis, side, row):
    s = prepared(minis, row)
    sampled = functools.partial(samples, host, s, **row.sampling)
    plain = sampled(row.patch(s, s.model, minis))
    untrained, small = load(s, side(row.family, seed=None)), load(s, side(row.family))
    results = [sampled(in_order(row, s, minis, one, small, first)) for first in (True, False)]
    assert_same(sampled(in_order(row, s, minis, one, untrained, True)), plain, 1e-7)
    assert_same(*results)
    assert_differs(results[0], plain, at_least=1e-3)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m", "heun", "lcm", "dpmpp_2m_cfg_pp"])
def test_every_sampler_takes_it(host, minis, side, sampler):
    s = build(minis)
    plain = samples(host, s, s.model, sampler_name=sampler)
    assert torch.equal(samples(host, s, s.guide(s.model, load(s, side(seed=None))), sampler_name=sampler), plain)
    assert_differs(samples(host, s, s.guide(s.model, load(s, side())), sampler_name=sampler), plain)


def test_a_graph_that_is_not_connected_is_untouched_by_the_loader(host, minis, side):
    s = build(minis)
    plain = host.samples(s.graph, s.sample(s.model), fresh=True)
    host.value(s.graph, load(s, side()))
    assert torch.equal(host.samples(s.graph, s.sample(s.model), fresh=True), plain)


# --- what it costs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("negative", "cfg", "reference", "expected"),
    [
        (EMPTY, 5.0, "auto", 2),
        (OTHER, 5.0, "auto", 2),
        (EMPTY, 1.0, "auto", 1),
        (OTHER, 1.0, "auto", 1),
        (OTHER, 5.0, "empty", 3),
        (EMPTY, 1.0, "empty", 2),
        (OTHER, 5.0, "negative", 2),
        (OTHER, 5.0, "prompt", 2),
        (OTHER, 1.0, "prompt", 1),
    ],
)
def test_no_evaluation_is_made_for_it_unless_the_empty_prompt_is_asked_for(
    host, minis, side, negative, cfg, reference, expected
):
    s = build(minis, negative=negative, batch=2)
    guided = s.guide(s.model, load(s, side()), reference=reference)
    assert evaluations_per_step(host, s, guided, cfg=cfg) == expected


def test_three_of_them_cost_no_evaluation_either(host, minis, side):
    s = build(minis, batch=2)
    model = s.model
    for seed in (1, 2, 3):
        model = s.guide(model, load(s, side(seed=seed)))
    assert evaluations_per_step(host, s, model) == 2


def read_by(host, s, guided, cfg=5.0):
    """The prediction that was corrected in the first step."""
    return observed(host, s, guided, cfg).terms[0].reference


def test_auto_reads_the_empty_prompts_prediction_where_the_sampler_makes_it_and_else_the_prompts(host, minis, side):
    empty, other = build(minis), build(minis, negative=OTHER)
    whole = {
        name: read_by(host, s, s.guide(s.model, load(s, side()), reference=reference), cfg=cfg)
        for name, s, reference, cfg in (
            ("auto, empty negative", empty, "auto", 5.0),
            ("auto, other negative", other, "auto", 5.0),
            ("auto, cfg 1", empty, "auto", 1.0),
            ("empty", other, "empty", 5.0),
            ("prompt", other, "prompt", 5.0),
            ("negative", other, "negative", 5.0),
        )
    }
    assert_same(whole["auto, empty negative"], whole["empty"])
    assert_same(whole["auto, other negative"], whole["prompt"])
    assert_same(whole["auto, cfg 1"], whole["prompt"])
    for a, b in (("empty", "prompt"), ("empty", "negative"), ("prompt", "negative")):
        assert_differs(whole[a], whole[b], at_least=1e-3)


def test_a_connected_empty_prompt_takes_the_place_of_the_files(host, minis, side):
    s = build(minis, negative=OTHER)
    guided = s.guide(s.model, load(s, side()), reference="empty", domain_conditioning=s.prompt(OTHER))
    negative = s.guide(s.model, load(s, side()), reference="negative")
    assert_same(read_by(host, s, guided), read_by(host, s, negative))


def test_a_reference_model_is_what_is_corrected(host, minis, side):
    """A side network of the raw model, used on another: the raw one is asked, at one evaluation."""
    s = build(minis)
    other = s.load(minis.fine_tuned("sd15"))
    guided = s.guide(other, load(s, side(), other), reference_model=s.model)
    plain = s.guide(s.model, load(s, side()))
    assert_same(read_by(host, s, guided), read_by(host, s, plain))
    s2 = build(minis, batch=2)
    both = s2.guide(s2.load(minis.fine_tuned("sd15")), load(s2, side()), reference_model=s2.model)
    assert evaluations_per_step(host, s2, both) == 3


def test_control_none_corrects_what_the_base_says_without_its_controlnet(host, minis, side):
    s = build(minis)
    control(s, minis, strength=1.0)
    same, none = (read_by(host, s, s.guide(s.model, load(s, side()), control=each)) for each in ("same", "none"))
    assert_differs(same, none)
    without = build(minis)
    assert_same(none, read_by(host, without, without.guide(without.model, load(without, side()))))


def test_the_model_is_loaded_once_and_no_second_one_is_there(host, minis, side):
    import comfy.model_management

    comfy.model_management.unload_all_models()
    s = build(minis)
    guided = s.guide(s.model, load(s, side()))
    with watch_loads() as loads, watch_evaluations() as seen:
        samples(host, s, guided, seed=301)
    assert list(loads.values()) == [1] and len(seen.models()) == 1


@pytest.mark.parametrize("name", ["fp8", "quantised"])
def test_a_narrow_base_serves_and_its_weights_stay(host, minis, side, name):
    s = build(minis)
    if name == "fp8":
        base = s.graph.add("UNETLoader", unet_name=minis.unet("sd15"), weight_dtype="fp8_e4m3fn")
    else:
        base = s.graph.add("ProbeQuantised", unet_name=minis.unet("sd15"))
    guided, untrained = (s.guide(base, load(s, side(seed=seed), base)) for seed in (1, None))
    assert_differs(samples(host, s, guided), samples(host, s, base))
    assert torch.equal(samples(host, s, untrained), samples(host, s, base))


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_a_network_of_other_latents_is_refused(host, minis, side):
    s = build(minis, "sdxl")
    message = refusal(host, s, load(s, side("sd15")))
    assert "reads 4-channel SD15 latents and model works on 4-channel SDXL ones" in message


def test_it_is_checked_again_where_it_is_applied(host, minis, side):
    """Loaded beside one model, applied to another."""
    s, name = build(minis, "sdxl"), side("sd15")
    sd15 = s.graph.add("UNETLoader", unet_name=minis.unet("sd15"))
    message = refusal(host, s, s.guide(s.model, load(s, name, sd15)))
    assert "reads 4-channel SD15 latents" in message


def test_one_of_a_flow_model_is_refused_on_a_noise_model(host, minis, side):
    s = build(minis)
    name = side(name="flow.safetensors", prediction="flow")
    message = refusal(host, s, s.guide(s.model, load(s, name)))
    assert "was trained on a flow model and model is a noise- and velocity-prediction model" in message


@pytest.mark.parametrize("damage", ["truncated", "nan", "another kind"])
def test_a_file_that_cannot_be_used_is_one_sentence(host, minis, side, damage):
    s, root = build(minis), minis.root / "side_networks"
    name = f"{damage.replace(' ', '_')}.safetensors"
    if damage == "truncated":
        side(name=name)
        (root / name).write_bytes((root / name).read_bytes()[:-64])
    elif damage == "nan":
        nan_side_network(root / side(name=name))
    elif damage == "another kind":
        (root / name).write_bytes((minis.root / "diffusion_models" / minis.domain()).read_bytes())
    message = refusal(host, s, load(s, name))
    wanted = {
        "truncated": "not a complete safetensors file",
        "nan": "holds NaN or infinity",
        "another kind": "expected a side network: load it with Load Domain UNet",
    }
    assert wanted[damage] in message


def nan_side_network(path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["side_network.first.bias"][0] = float("nan")
    save_file(tensors, path, metadata)


def test_another_base_is_said_in_one_line_and_drawn_with(host, minis, side, caplog):
    s = build(minis)
    guided = s.guide(s.model, load(s, side(name="foreign.safetensors", fingerprint="0" * 16)))
    with caplog.at_level(logging.WARNING):
        result = host.samples(s.graph, s.sample(guided), fresh=True)
    assert sum("was trained on a different base" in record.message for record in caplog.records) == 1
    assert_same(result, samples(host, s, s.guide(s.model, load(s, side()))))


def test_its_domain_model_on_a_sampler_says_that_it_draws_nothing(host, minis, side, caplog):
    s = build(minis)
    with caplog.at_level(logging.WARNING):
        result = host.samples(s.graph, s.sample(load(s, side())), fresh=True)
    assert any("draws as the plain base; connect it to domain_model" in record.message for record in caplog.records)
    assert torch.equal(result, samples(host, s, s.model))


def test_a_term_refuses_it_as_the_reader_of_a_prompt(host, minis, side):
    s = build(minis)
    term = s.graph.add(
        "DomainGuidanceTerm", model=s.model, conditioning=s.prompt(3), weight=1.0, term_model=load(s, side())
    )
    message = refusal(host, s, term)
    assert "connect it to domain_model of Apply Domain Guidance" in message


def test_the_burn_warning_counts_it(host, minis, side, caplog):
    s = build(minis)
    with caplog.at_level(logging.WARNING):
        host.samples(s.graph, s.sample(s.guide(s.model, load(s, side()), weight=6.0)), fresh=True)
    assert any("images tend to burn" in record.message for record in caplog.records)


# --- where its domain would be lost ----------------------------------------------------------------------------------

LOST = "The model comes from Load Side Network, whose domain is not part of the model"


def test_saving_it_as_a_domain_is_refused_and_writes_nothing(host, minis, side, base_directory):
    s = build(minis)
    saved = s.graph.add(
        "DomainGuidanceSaveUNet", model=load(s, side()), empty_conditioning=s.prompt(EMPTY), name="side saved"
    )
    message = refusal(host, s, saved)
    assert message.startswith(LOST) and "connect a model whose own weights are the domain" in message
    assert not list(base_directory.rglob("side saved*"))


@pytest.mark.parametrize("form", ["adapter", "side-network", "empty-prompt"])
def test_training_on_it_is_refused(host, minis, side, base_directory, form):
    register(base_directory)
    s = build(minis)
    t = Training(minis, graph=s.graph, model=load(s, side()), save_name="on a side network", form=form)
    message = refusal(host, s, t.node)
    assert message.startswith(LOST) and "connect the model from before Load Side Network" in message


def test_a_domain_adapter_on_it_is_refused(host, minis, side):
    s = build(minis)
    adapter = domain_adapter(host, minis)
    message = refusal(host, s, s.graph.add("DomainGuidanceLoadAdapter", model=load(s, side()), lora_name=adapter))
    assert message.startswith(LOST) and "chain two Apply Domain Guidance for two domains" in message


def test_a_second_one_on_it_is_refused(host, minis, side):
    s = build(minis)
    message = refusal(host, s, load(s, side(seed=2), load(s, side())))
    assert message.startswith(LOST) and "chain two Apply Domain Guidance for two domains" in message


def test_as_a_critic_it_is_refused_unless_its_domain_is_applied(host, minis, side):
    s = build(minis)
    check = host.library("nodes.comfy_host.generators.critic").check_critic
    domain = load(s, side())
    with pytest.raises(ValueError, match=LOST) as caught:
        check(host.value(s.graph, domain))
    assert_one_sentence(str(caught.value))
    check(host.value(s.graph, s.guide(domain, domain)))


def test_as_a_reference_model_it_is_the_base_and_that_is_said(host, minis, side, caplog):
    s = build(minis)
    small = load(s, side())
    with caplog.at_level(logging.WARNING):
        result = samples(host, s, s.guide(s.model, small, reference_model=small))
    assert any("counts as the base without its domain" in record.message for record in caplog.records)
    assert_same(result, samples(host, s, s.guide(s.model, small)))
