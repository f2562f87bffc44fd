"""Adapt Generator in the real host: what it costs, what it shows, what it leaves as it was, and what it writes."""

import re
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
import torch
from adapt_scenes import Adaptation, log_of, register, steps_of
from messages import hearing
from mini_models import trained
from training_scenes import Training
from training_scenes import register as register_training
from watchers import watch_evaluations, watch_loads


@pytest.fixture(scope="module", autouse=True)
def probes(host, base_directory):
    register(host)
    register_training(base_directory)


@contextmanager
def watch_encodings():
    """The batch size of every encoding of a picture."""
    from comfy.pixel_space_convert import PixelspaceConversionVAE

    seen, original = [], PixelspaceConversionVAE.encode

    def encode(self, pixels, *args, **kwargs):
        seen.append((len(pixels), torch.is_grad_enabled() and pixels.requires_grad))
        return original(self, pixels, *args, **kwargs)

    with patch.object(PixelspaceConversionVAE, "encode", encode):
        yield seen


@pytest.mark.parametrize("family", ["toy", "sd15", "sdxl", "sd3"])
def test_an_adaptation_writes_what_it_returns_and_load_generator_reads_it(host, minis, base_directory, family):
    a = Adaptation(minis, family, save_name=f"written {family}", steps=2)
    source, adapted = host.value(a.before, a.generator), host.value(a.graph, a.node)
    name = host.value(a.graph, a.node[3])
    assert name == f"written {family}.safetensors" and steps_of(a, base_directory) == [1, 2]
    loaded = host.library("nodes.comfy_host.generators.files").load_generator(name)
    assert loaded.card == adapted.card and loaded.weights.keys() == adapted.weights.keys() == source.weights.keys()
    assert all(torch.equal(loaded.weights[name], tensor) for name, tensor in adapted.weights.items())
    moved = {name for name, tensor in adapted.weights.items() if not torch.equal(tensor, source.weights[name])}
    selected = set(host.library("domain_guidance.generators").default_selection(source.card.config))
    assert moved == selected, "all that is trained has moved, and nothing else"
    assert adapted.card.training["critic"]["cfg"] == 5.0 and adapted.card.training["trained_steps"] == 2


@pytest.mark.parametrize(
    "changes, encodings, evaluation",
    [
        ({}, [(1, True)], 2),
        ({"cfg": 1.0}, [(1, True)], 1),
        ({"regulariser": "directional"}, [(1, True), (1, False)], 4),
        ({"regulariser": "reconstruction"}, [(1, True), (1, False)], 2),
    ],
    ids=["plain", "cfg 1", "directional", "reconstruction"],
)
def test_a_step_takes_one_encoding_and_one_evaluation_and_with_a_regulariser_one_more_of_the_first(
    host, minis, changes, encodings, evaluation
):
    """evaluation: the batch of the network's one call, positive and negative prompt together."""
    a = Adaptation(minis, save_name=f"counted {len(changes)} {list(changes.values())}", steps=3, **changes)
    with watch_encodings() as encoded, watch_evaluations() as evaluations:
        host.value(a.graph, a.node)
    assert sorted(encoded[1:]) == sorted(3 * encodings), "the first one measures the memory"
    assert [size for _, size in evaluations] == 3 * [evaluation]


def test_a_batch_is_one_encoding_and_one_evaluation_too(host, minis):
    a = Adaptation(minis, save_name="counted batch", steps=2, batch_size=3, regulariser="directional")
    with watch_encodings() as encoded, watch_evaluations() as evaluations:
        host.value(a.graph, a.node)
    assert sorted(encoded[-4:]) == 2 * [(3, False)] + 2 * [(3, True)]
    assert [size for _, size in evaluations] == [12, 12]


def test_other_nodes_read_the_run_as_the_levels_that_the_critic_is_asked_about(host, minis):
    """What caches, schedules and previews of other nodes take for the sampler's steps."""
    adapt, critic = (
        host.library("nodes.comfy_host.generators.adapt"),
        host.library("nodes.comfy_host.generators.critic").HostCritic,
    )
    a = Adaptation(
        minis, save_name="levels", steps=6, noise_low=0.1, noise_high=0.2, batch_size=3, regulariser="directional"
    )
    inside, denoise, run, asked = adapt.inside_sampler, critic.denoise, {}, []

    def watched(*args, **settings):
        run.update(settings)
        return inside(*args, **settings)

    def noted(self, noisy, sigma):
        asked.extend(sigma.tolist())
        return denoise(self, noisy, sigma)

    with patch.object(adapt, "inside_sampler", watched), patch.object(critic, "denoise", noted):
        host.value(a.graph, a.node)
    levels = run["sigmas"]
    assert levels[-1] == 0 and (levels.diff() < 0).all() and set(asked) <= set(levels.tolist())
    assert len(levels) == 102 and run["shape"] == (6, 3, 16, 16) and run["room"] > 0


def test_critic_domain_and_vae_are_loaded_once(host, minis):
    a = Adaptation(minis, "sd15", save_name="loaded", steps=3)
    domain = a.graph.add("DomainGuidanceLoadUNet", unet_name=minis.domain(change=trained))
    a.graph[a.node.id]["inputs"]["model"] = [
        a.graph.add("DomainGuidanceApply", model=a.model, domain_model=domain, weight=2.0).id,
        0,
    ]
    with watch_loads() as loads:
        host.value(a.graph, a.node, fresh=True)
    assert sorted(loads.values()) == [1, 1, 1]


def test_source_critic_vae_and_prompts_are_bit_identical_afterwards(host, minis):
    a = Adaptation(minis, "sd15", save_name="unchanged", regulariser="directional")
    generator, model, vae, positive = (host.value(a.before, link) for link in (a.generator, a.model, a.vae, a.positive))
    held = {
        "generator": generator.weights,
        "model": model.model.state_dict(),
        "vae": vae.first_stage_model.state_dict(),
        "prompt": {"": positive[0][0]},
    }
    before = {kind: {name: tensor.clone() for name, tensor in tensors.items()} for kind, tensors in held.items()}
    wrappers, models = repr(model.wrappers), repr(model.additional_models)
    host.value(a.graph, a.node)
    assert all(
        torch.equal(tensor, before[kind][name]) for kind, tensors in held.items() for name, tensor in tensors.items()
    )
    assert (repr(model.wrappers), repr(model.additional_models)) == (wrappers, models)


def test_the_first_picture_comes_before_the_first_step_and_shows_the_source_twice(host, minis):
    import comfy.utils

    a, seen = Adaptation(minis, save_name="shown", steps=4, preview_every=2), []
    with patch.object(
        comfy.utils,
        "PROGRESS_BAR_HOOK",
        lambda value, total, preview, node_id=None: seen.append((value, total, preview)),
    ):
        before_after = host.value(a.graph, a.node[1])
    pictures = [(value, preview[1]) for value, _, preview in seen if preview]
    assert [value for value, _ in pictures] == [0, 2, 4] and seen[-1][:2] == (4, 4)
    upper, lower = np.array(pictures[0][1])[:160].reshape(2, 80, 640, 3)
    inner = slice(16, 64)  # the rows are enlarged together
    assert np.array_equal(upper[inner], lower[inner]), "above and below are one generator still"
    assert before_after.shape == (1, 32, 128, 3)
    assert not torch.equal(before_after[:, :16], before_after[:, 16:])


def test_memory_and_time_left_are_said_at_the_node(host, minis):
    a, said = Adaptation(minis, save_name="said", steps=3), []
    with patch.object(host.library("nodes.adapt_generator"), "line_at", hearing(said)):
        host.value(a.graph, a.node)
    _, (first, prepared), *steps, (last, done) = said
    assert first == "prepared" and "memory" in prepared and "critic and its VAE take" in prepared
    assert {slot for slot, _ in steps} == {last} == {"state"} and len(steps) == 3
    assert re.fullmatch(r"Step 1 of 3, [\d.]+ of [\d.]+ GB memory in use, loss [\d.]+", steps[0][1])
    assert re.match(r"Step 2 of 3, 0 min \d\d s left, ", steps[1][1])
    assert done.startswith(
        "The adaptation has finished its 3 steps and saved 'output/generators/said.safetensors'. Connect adapted to "
    )


def test_a_controlnet_in_the_prompts_acts(host, minis):
    found = []
    for controlled in (False, True):
        a = Adaptation(minis, "sd15", save_name=f"controlled {controlled}", steps=1)
        if controlled:
            image, net = (
                a.graph.add("ProbeImage", seed=3),
                a.graph.add("ControlNetLoader", control_net_name=minis.controlnet()),
            )
            both = a.graph.add(
                "ControlNetApplyAdvanced", positive=a.positive, negative=a.negative, image=image, control_net=net
            )
            a.graph[a.node.id]["inputs"] |= {"positive": both[0], "negative": both[1]}
        found.append(host.value(a.graph, a.node).weights)
    assert any(not torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_two_adaptations_of_one_prompt_are_those_of_two_prompts(host, minis):
    """One with a LoRA on the same critic, whose weights both share."""

    def add(graph, name, lora):
        a = Adaptation(minis, "sd15", save_name=name, graph=graph)
        if lora:
            loaded = a.graph.add("LoraLoaderModelOnly", model=a.model, lora_name=minis.lora(), strength_model=0.7)
            a.graph[a.node.id]["inputs"]["model"] = [loaded.id, 0]
        return a

    alone = {}
    for lora in (False, True):
        a = add(None, f"alone {lora}", lora)
        alone[lora] = host.value(a.graph, a.node).weights
    first = add(None, "together False", False)
    second = add(first.graph, "together True", True)
    outputs = {lora: first.graph.add("ProbeCapture", value=a.node) for lora, a in ((False, first), (True, second))}
    found = host.run(first.graph)
    for lora, probe in outputs.items():
        assert all(torch.equal(tensor, alone[lora][name]) for name, tensor in found[probe.id].weights.items())
    assert any(not torch.equal(tensor, alone[True][name]) for name, tensor in alone[False].items())


def test_a_domain_of_images_alone_can_be_the_critic(host, minis, base_directory):
    """Empty prompts and cfg 1: at weight 1 the domain's own prediction is all that counts, and the toy's domain reads
    no text.
    """
    a = Adaptation(minis, save_name="to plates", cfg=1.0, steps=2)
    guided = a.graph.add("DomainGuidanceApply", model=a.toy[0], domain_model=a.toy[1], weight=1.0)
    a.graph[a.node.id]["inputs"] |= {"model": [guided.id, 0], "positive": a.toy[4]}
    direct = Adaptation(minis, save_name="to plates directly", cfg=1.0, steps=2, model=None)
    direct.graph[direct.node.id]["inputs"] |= {"model": direct.toy[1], "positive": direct.toy[4]}
    found, expected = (host.value(each.graph, each.node).weights for each in (a, direct))
    assert all(torch.allclose(found[name], tensor, atol=1e-5) for name, tensor in expected.items())
    assert log_of(a, base_directory)[1]["loss"] == pytest.approx(log_of(direct, base_directory)[1]["loss"], rel=1e-4)


def test_the_adaptive_choice_trains_as_many_layers_as_asked(host, minis):
    a = Adaptation(minis, save_name="layers", steps=1, layers=1)
    source, adapted = host.value(a.before, a.generator), host.value(a.graph, a.node)
    moved = {
        name.rpartition(".")[0].removesuffix(".affine")
        for name, tensor in adapted.weights.items()
        if not torch.equal(tensor, source.weights[name])
    }
    assert len(moved) == 1 and len(adapted.card.training["styles"]) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"precision": "fp16", "steps": 20},
        {"score": "likelihood", "cfg": 7.5},
        {"relative_distance": 100.0, "batch_size": 3},
        {"accumulation": 2},
        {"average": True},
        {"truncation": 0.7},
        {"percentile": 1.0},
        {"regulariser": "directional", "unit_directional": True},
        {"unit_score": True, "loss_scale": 0.01, "percentile": 1.0},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_it_learns_in_every_way_that_can_be_asked_for(host, minis, changes):
    a = Adaptation(minis, **{"save_name": f"way {list(changes)}", "steps": 1, **changes})
    source, adapted = host.value(a.before, a.generator), host.value(a.graph, a.node)
    assert any(not torch.equal(tensor, source.weights[name]) for name, tensor in adapted.weights.items())


def test_the_losses_are_those_of_the_library_with_the_nodes_numbers(host, minis):
    a = Adaptation(minis, save_name="scaled", steps=1, unit_score=True, loss_scale=0.01, percentile=1.0)
    distillation = host.value(a.graph, a.node).card.training["distillation"]
    assert (distillation["unit_score"], distillation["scale"], distillation["percentile"]) == (True, 0.01, 1.0)


def test_a_generator_in_space_is_adapted_too(host, minis):
    a = Adaptation(minis, "sd15", save_name="space", steps=2, probe="ProbeSpatialGenerator", preview_every=1)
    source, adapted = host.value(a.before, a.generator), host.value(a.graph, a.node)
    assert adapted.card.config == source.card.config
    moved = {
        name.split(".")[0] for name, tensor in adapted.weights.items() if not torch.equal(tensor, source.weights[name])
    }
    assert moved == {"backbone", "superresolution"}
    assert host.value(a.graph, a.node[1]).shape == (1, 64, 256, 3)


def test_its_pictures_can_train_a_domain(host, minis, base_directory):
    """What the adapted generator draws is an IMAGE like any other."""
    a = Adaptation(minis, save_name="teacher", steps=1)
    pictures = a.graph.add("DomainGuidanceSampleGenerator", generator=a.node, count=4)
    trained_from = Training(minis, save_name="pupil", graph=a.graph, images=0, steps=1, evaluate_every=0)
    a.graph[trained_from.node.id]["inputs"]["images"] = [pictures.id, 0]
    assert host.value(a.graph, trained_from.node[2]) == "pupil.safetensors"
