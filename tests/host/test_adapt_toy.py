"""One toy world in two hosts: an adaptation through ComfyUI's guider is the library's own with its own critics."""

from contextlib import closing

import pytest
import torch
from adapt_scenes import Adaptation, register

STEPS = 5


@pytest.fixture(scope="module", autouse=True)
def probes(host):
    register(host)


@pytest.fixture(scope="module")
def toy(host):
    return {
        name: host.library(f"domain_guidance.{name}")
        for name in ("toy_world.critics", "toy_world.comparison", "adaptation", "distillation", "runs")
    }


def by_library(toy, file, critic, folder, batch_size, **score):
    adaptation = toy["adaptation"]
    settings = adaptation.AdaptationSettings(
        steps=STEPS,
        learning_rate=2e-3,
        batch_size=batch_size,
        seed=3,
        distillation=toy["distillation"].Distillation(resolution=16, **score),
    )
    files = toy["runs"].RunFiles(folder, "by library")
    with torch.inference_mode(False):
        pair = adaptation.AdaptedPair(file, "cpu")
        with closing(adaptation.adapt_generator(pair, critic, settings, files)) as events:
            losses = [event.loss for event in events if isinstance(event, toy["runs"].Step)]
        return losses, pair.file({}).weights


def assert_alike(found, expected, source):
    """Within a hundredth of what was learned."""
    for name, tensor in expected.items():
        moved = (tensor - source[name]).norm()
        assert (found[name] - tensor).norm() <= 1e-2 * moved + 1e-6, name
    assert any(not torch.equal(tensor, source[name]) for name, tensor in expected.items())


@pytest.mark.parametrize(
    "batch_size, regulariser, score",
    [(1, "none", {}), (3, "directional", {"directional": 1.0})],
    ids=["plain", "a batch, directional"],
)
def test_adapting_to_a_prompt_is_the_same_in_both_hosts(host, minis, toy, tmp_path, batch_size, regulariser, score):
    a = Adaptation(
        minis, save_name=f"both {batch_size}", steps=STEPS, batch_size=batch_size, regulariser=regulariser
    )  # a red 3 at cfg 5
    file, found = host.value(a.before, a.generator), host.value(a.graph, a.node)
    critic = toy["toy_world.critics"].prompt_critic(
        toy["toy_world.comparison"].load_models(), 5.0, digit=3, stroke="red"
    )
    _, expected = by_library(toy, file, critic, tmp_path, batch_size, **score)
    assert_alike(found.weights, expected, file.weights)


def test_adapting_to_a_domain_without_text_is_the_same_in_both_hosts(host, minis, toy, tmp_path):
    a = Adaptation(minis, save_name="both domain", steps=STEPS, cfg=1.0)
    guided = a.graph.add("DomainGuidanceApply", model=a.toy[0], domain_model=a.toy[1], weight=7.5)
    a.graph[a.node.id]["inputs"] |= {"model": [guided.id, 0], "positive": a.toy[4]}
    file, found = host.value(a.before, a.generator), host.value(a.graph, a.node)
    critic = toy["toy_world.critics"].domain_critic(toy["toy_world.comparison"].load_models(), 7.5)
    _, expected = by_library(toy, file, critic, tmp_path, 1)
    assert_alike(found.weights, expected, file.weights)
