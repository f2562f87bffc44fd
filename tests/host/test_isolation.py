"""A graph that is not connected to the node is what it was, in the same process, whatever happened before."""

import os
import shutil

import pytest
import torch
from host_process import PromptError
from mini_models import trained
from scenes import OTHER, assert_differs, assert_same, build
from watchers import watch_evaluations


def plain_run(host, s, link):
    return host.samples(s.graph, link, fresh=True)


def test_an_unconnected_graph_is_bit_identical_before_and_after_a_guided_run(host, minis):
    s = build(minis, negative=OTHER)
    plain = s.sample(s.model)
    before = plain_run(host, s, plain)
    guided = s.guide(s.model, s.load_domain(minis.domain(change=trained)))
    host.samples(s.graph, s.sample(guided), fresh=True)
    assert torch.equal(plain_run(host, s, plain), before)


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("broken_side", ["base", "domain"])
def test_an_unconnected_graph_is_bit_identical_after_an_exception_in_the_middle_of_sampling(
    host, minis, call, broken_side
):
    s = build(minis)
    plain = s.sample(s.model)
    before = plain_run(host, s, plain)
    domain = s.load_domain(minis.domain(change=trained))
    if broken_side == "base":
        guided = s.guide(s.graph.add("ProbeBreak", model=s.model, call=call), domain)
    else:
        guided = s.guide(s.model, s.graph.add("ProbeBreak", model=domain, call=call))
    with pytest.raises(PromptError, match="broken on purpose"):
        host.samples(s.graph, s.sample(guided))
    assert torch.equal(plain_run(host, s, plain), before)


def test_a_guided_graph_repeats_itself_after_an_exception(host, minis):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    guided = s.sample(s.guide(s.model, domain))
    before = host.samples(s.graph, guided, fresh=True)
    broken = s.guide(s.model, s.graph.add("ProbeBreak", model=domain, call=2))
    with pytest.raises(PromptError):
        host.samples(s.graph, s.sample(broken))
    assert_same(host.samples(s.graph, guided, fresh=True), before, 0.0)


def test_the_domain_model_is_let_go_after_an_exception(host, minis):
    """The host cleans second models up only after a success; a patcher left in the model would be used by the next
    graph.
    """
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    with pytest.raises(PromptError):
        host.samples(s.graph, s.sample(s.guide(s.model, s.graph.add("ProbeBreak", model=domain, call=2))))
    assert host.value(s.graph, domain).model.current_patcher is None


def test_the_node_changes_neither_of_the_models_that_it_is_given(host, minis):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    guided = s.guide(s.model, domain)
    host.samples(s.graph, s.sample(guided))
    for link in (s.model, domain):
        patcher = host.value(s.graph, link)
        assert not any(keyed for keyed in patcher.wrappers.values())
        assert not patcher.get_nested_additional_models()
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(s.model, seed=121))
    assert len(seen.models()) == 1


def test_no_run_is_left_behind_in_the_model_options(host, minis):
    s = build(minis)
    guided = s.guide(s.model, s.load_domain(minis.domain(change=trained)))
    host.samples(s.graph, s.sample(guided))
    patcher = host.value(s.graph, guided)
    assert "domain_guidance" not in patcher.model_options["transformer_options"]


def moved(state):
    return {name: tensor * 1.1 for name, tensor in state.items()}


def test_a_domain_file_that_was_trained_further_is_read_again(host, minis):
    """The host keeps what a node gave as long as its inputs say the same."""
    folder, name = minis.root / "diffusion_models", "trained further.safetensors"
    first, second = (folder / minis.domain(change=change) for change in (trained, moved))
    shutil.copy(first, folder / name)
    s = build(minis)
    link = s.sample(s.guide(s.model, s.load_domain(name)))
    before = host.samples(s.graph, link)
    assert torch.equal(host.samples(s.graph, link), before)
    shutil.copy(second, folder / name)
    os.utime(folder / name, (2e9, 2e9))
    assert_differs(host.samples(s.graph, link), before)
