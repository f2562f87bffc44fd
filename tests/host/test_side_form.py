"""Train Domain in the form side-network: the loaded MODEL is asked as it is, and only the small network learns."""

import json
from unittest.mock import patch

import pytest
import torch
from prompts import Graph
from safetensors import safe_open
from safetensors.torch import load_file
from scenes import assert_differs, assert_same
from test_training_interrupted import at_step, cancel, run_to_cancel, saved_step
from training_scenes import Training, held_out, log_of, register, result_of, state_of

FAMILIES = ["sd15", "sdxl", "sd3", "flux"]
GENTLE = {"learning_rate": 1e-3, "steps": 32, "evaluate_every": 32}  # enough for the held-out loss to fall


@pytest.fixture(scope="module", autouse=True)
def folders(host, base_directory):
    register(base_directory)


def training(minis, name, family="sd15", **changes):
    settings = {"form": "side-network", "learning_rate": 5e-3, "steps": 8, "evaluate_every": 8, **changes}
    return Training(minis, family, save_name=name, **settings)


def losses(t, base_directory):
    return [line["loss"] for line in log_of(t, base_directory) if line["event"] == "step"]


def same_tensors(one, other):
    one, other = load_file(one), load_file(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_lowers_the_held_out_loss_keeps_the_model_and_guides_at_once(host, minis, base_directory, family):
    alone = Graph()
    loaded = host.value(alone, alone.add("UNETLoader", unet_name=minis.unet(family)))
    before = {name: tensor.clone() for name, tensor in loaded.model.diffusion_model.state_dict().items()}
    t = training(minis, f"{family} side", family, **GENTLE)
    base = host.value(t.graph, t.model)
    first, *_, last = held_out(t, base_directory)
    assert last < first
    after = base.model.diffusion_model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    s = t.scene()
    results = [
        host.samples(s.graph, s.sample(s.guide(s.model, domain, weight=2.0)))
        for domain in (t.node, *t.loaded(host.value(t.graph, t.node[2])))
    ]
    assert_same(*results, 1e-7)
    assert_differs(results[0], host.samples(s.graph, s.sample(s.model)), at_least=1e-4)


def test_the_file_is_a_card_with_pictures_and_the_latents_of_the_host(host, minis, base_directory):
    t = training(minis, "side card", preview_every=8)
    host.value(t.graph, t.node)
    file = host.library("domain_guidance.side_networks").read_side_file(result_of(t, base_directory))
    assert (file.latents.channels, file.latents.name) == (4, "SD15") and file.latents.scale == pytest.approx(0.18215)
    assert file.card.base_fingerprint == minis.fingerprint(minis_weights())
    assert file.card.training["trained_steps"] == 8 and file.card.base_name == "sd15"
    with safe_open(str(result_of(t, base_directory)), "pt") as opened:
        assert json.loads(opened.metadata()["ssmd_cover_images"])


def minis_weights():
    from mini_models import weights

    return weights("sd15")


@pytest.mark.parametrize("kind", ["fp8", "quantised", "LoRA"])
def test_any_model_serves_as_the_base(host, minis, base_directory, kind):
    """Narrow, packed and patched ones: nothing of them is trained, and what is on them is part of the answer."""
    graph = Graph()
    if kind == "fp8":
        model = graph.add("UNETLoader", unet_name=minis.unet("sd15"), weight_dtype="fp8_e4m3fn")
    elif kind == "quantised":
        model = graph.add("ProbeQuantised", unet_name=minis.unet("sd15"))
    else:
        plain = graph.add("UNETLoader", unet_name=minis.unet("sd15"))
        model = graph.add("LoraLoaderModelOnly", model=plain, lora_name=minis.lora(), strength_model=1.0)
    t = training(minis, f"side {kind}", graph=graph, model=model, **GENTLE)
    host.value(t.graph, t.node)
    first, *_, last = held_out(t, base_directory)
    assert last < first
    plain = training(minis, "side plain", **GENTLE)
    host.value(plain.graph, plain.node)
    assert losses(t, base_directory)[0] != losses(plain, base_directory)[0]


def test_no_second_network_is_made_and_no_graph_reaches_the_first(host, minis, base_directory):
    import comfy.model_base

    seen, original = [], comfy.model_base.BaseModel._apply_model

    def watched(self, x, *args, **kwargs):
        seen.append((id(self), torch.is_grad_enabled()))
        return original(self, x, *args, **kwargs)

    t = training(minis, "side copies")
    with patch.object(comfy.model_base.BaseModel, "_apply_model", watched):
        base = host.value(t.graph, t.model)  # Train Domain is an output, so it runs with whatever is asked for
    assert {model for model, _ in seen} == {id(base.model)} and not any(graph for _, graph in seen)


def test_a_cancel_keeps_the_last_step_and_run_goes_on_to_the_same_end(host, minis, base_directory):
    whole = training(minis, "side whole", evaluate_every=0)
    host.value(whole.graph, whole.node)
    t = training(minis, "side cancelled", evaluate_every=0)
    with at_step(3, cancel) as made:
        run_to_cancel(host, t)
    assert made == [1, 2, 3] and saved_step(host, t, base_directory) == 3
    host.value(t.graph, t.node, fresh=True)
    assert same_tensors(state_of(t, base_directory), state_of(whole, base_directory))
    assert same_tensors(result_of(t, base_directory), result_of(whole, base_directory))


def test_more_steps_extend_a_finished_training(host, minis, base_directory):
    whole = training(minis, "side at once", evaluate_every=0)
    host.value(whole.graph, whole.node)
    for steps in (5, 8):
        t = training(minis, "side extended", evaluate_every=0, steps=steps)
        host.value(t.graph, t.node)
    assert same_tensors(state_of(t, base_directory), state_of(whole, base_directory))


def test_larger_pictures_get_a_deeper_network(host, minis, base_directory):
    t = training(minis, "side small", resolution=128)
    host.value(t.graph, t.node)
    file = host.library("domain_guidance.side_networks").read_side_file(result_of(t, base_directory))
    assert file.network.shape.levels == 2
