"""However an adaptation ends, what it learned is on disk, and Run goes on from there, but only with the critic that
it began with.
"""

import gc
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from adapt_scenes import Adaptation, register, result_of, state_of, steps_of
from host_process import PromptError
from messages import OUT_OF_MEMORY, hearing
from mini_models import trained
from safetensors import safe_open
from safetensors.torch import load_file
from scenes import assert_one_sentence, build

STEPS = 6


@pytest.fixture(scope="module", autouse=True)
def probes(host):
    register(host)


@contextmanager
def at_step(number, act):
    """Calls `act` when the optimiser has made its `number`-th step; the list of all steps made."""
    made, original = [], torch.optim.Adam.step

    def step(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        made.append(len(made) + 1)
        if len(made) == number:
            act()
        return result

    with patch.object(torch.optim.Adam, "step", step):
        yield made


@contextmanager
def at_evaluation(number, act):
    """Calls `act` when the critic is asked for the `number`-th time."""
    import comfy.model_base

    asked, original = [], comfy.model_base.BaseModel._apply_model

    def evaluate(self, *args, **kwargs):
        asked.append(1)
        if len(asked) == number:
            act()
        return original(self, *args, **kwargs)

    with patch.object(comfy.model_base.BaseModel, "_apply_model", evaluate):
        yield


def cancel():
    import comfy.model_management

    comfy.model_management.interrupt_current_processing()


def run_to_cancel(host, a):
    probe = a.graph.add("ProbeCapture", value=a.node)
    assert probe.id not in host.run(a.graph)
    assert "execution_interrupted" in [event for event, _ in host._executor.status_messages]


def saved_step(a, base_directory):
    with safe_open(str(state_of(a, base_directory)), "pt") as file:
        return int(file.metadata()["step"])


def adaptation(minis, name, **changes):
    return Adaptation(
        minis, save_name=name, **{"steps": STEPS, "regulariser": "directional", "average": True, **changes}
    )


@pytest.fixture
def uninterrupted(host, minis, base_directory):
    a = adaptation(minis, "in one go")
    if not result_of(a, base_directory).exists():
        host.value(a.graph, a.node)
    return load_file(str(result_of(a, base_directory))), load_file(str(state_of(a, base_directory)))


def assert_equals(a, uninterrupted, base_directory):
    """Weights, averages, moments and result of the resumed run are those of the uninterrupted one, bit for bit."""
    for path, expected in zip((result_of(a, base_directory), state_of(a, base_directory)), uninterrupted):
        found = load_file(str(path))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_cancel_keeps_the_steps_and_queue_again_goes_on_bit_for_bit(
    host, minis, base_directory, uninterrupted, caplog
):
    a, said = adaptation(minis, "cancelled"), []
    with (
        at_step(3, cancel) as made,
        patch.object(host.library("nodes.adapt_generator"), "line_at", hearing(said)),
    ):
        run_to_cancel(host, a)
    assert made == [1, 2, 3] and saved_step(a, base_directory) == 3
    assert not result_of(a, base_directory).exists()
    for line in (said[-1][1], caplog.records[-1].getMessage()):
        assert "stopped after step 3" in line
        assert line.index("Run continues it") < line.index("cancelled.training"), "what to do, then where it is"
    host.value(a.graph, a.node)
    assert_equals(a, uninterrupted, base_directory)


def test_a_cancel_while_the_critic_is_asked_does_not_make_that_step(host, minis, base_directory, uninterrupted):
    a = adaptation(minis, "half a step")
    with at_evaluation(2, cancel), at_step(0, cancel) as made:
        run_to_cancel(host, a)
    assert made == [1] and saved_step(a, base_directory) == 1
    b = adaptation(minis, "between batches", accumulation=2)
    with at_evaluation(3, cancel), at_step(0, cancel) as made:
        run_to_cancel(host, b)
    assert made == [1] and saved_step(b, base_directory) == 1, "between two batches of a step it is honoured at once"
    host.value(a.graph, a.node)
    assert_equals(a, uninterrupted, base_directory)


def test_more_steps_extend_a_finished_adaptation_also_with_models_loaded_anew(
    host, minis, base_directory, uninterrupted
):
    short = adaptation(minis, "extended", steps=2)
    host.value(short.graph, short.node)
    longer = adaptation(minis, "extended")
    with at_step(0, cancel) as made:
        host.value(longer.graph, longer.node, fresh=True)
    assert len(made) == STEPS - 2 and steps_of(longer, base_directory) == list(range(1, STEPS + 1))
    assert_equals(longer, uninterrupted, base_directory)


def test_the_adaptive_choice_of_layers_is_kept_by_a_resumed_run(host, minis, base_directory):
    short, longer = (adaptation(minis, "chosen", steps=steps, layers=1) for steps in (1, 3))
    styles = host.value(short.graph, short.node).card.training["styles"]
    assert host.value(longer.graph, longer.node).card.training["styles"] == styles
    whole = adaptation(minis, "chosen at once", steps=3, layers=1)
    host.value(whole.graph, whole.node)
    assert_equals(
        longer, [load_file(str(path(whole, base_directory))) for path in (result_of, state_of)], base_directory
    )


def test_a_new_version_begins_anew_beside_the_old_one(host, minis, base_directory):
    for expected in ("versions.safetensors", "versions-2.safetensors"):
        a = adaptation(
            minis, "versions", steps=1, on_existing="new version", learning_rate=1e-3 if "-2" in expected else 2e-3
        )
        assert host.value(a.graph, a.node[3], fresh=True) == expected
        assert (base_directory / "output" / "generators" / expected).exists()


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["PyTorch's", "the driver's"])
def test_out_of_memory_is_one_sentence_that_says_what_helps_and_where_the_state_is(
    host, minis, base_directory, uninterrupted, error
):
    def fail():
        raise error()

    a = adaptation(minis, f"out of memory {error.func.__name__}")
    with at_evaluation(4, fail), pytest.raises(PromptError) as caught:
        host.value(a.graph, a.node)
    assert_one_sentence(caught.value.message)
    assert all(word in caught.value.message for word in ("step 3", "batch_size", "resolution", f"{a.name}.training"))
    assert saved_step(a, base_directory) == 3
    host.value(a.graph, a.node)
    assert_equals(a, uninterrupted, base_directory)


def test_the_host_is_in_order_after_a_cancel_and_the_next_prompt_runs(host, minis):
    import comfy.model_management

    a = adaptation(minis, "then another")
    model = host.value(a.before, a.model).model
    with at_step(1, cancel):
        run_to_cancel(host, a)
    assert not comfy.model_management.processing_interrupted() and model.current_patcher is None
    gc.collect()
    loaded = [entry.model.model for entry in comfy.model_management.current_loaded_models if entry.model is not None]
    assert not [network for network in loaded if type(network).__name__ == "PixelspaceConversionVAE"], (
        "its own VAE is gone"
    )
    s = build(minis)
    assert torch.isfinite(host.samples(s.graph, s.sample(s.model), fresh=True)).all()


def test_a_critic_that_says_no_number_stops_the_adaptation_in_one_sentence(host, minis, base_directory):
    import comfy.model_base

    a, asked, original = adaptation(minis, "no number"), [], comfy.model_base.BaseModel._apply_model

    def evaluate(self, *args, **kwargs):
        asked.append(1)
        return original(self, *args, **kwargs) * (float("nan") if len(asked) == 3 else 1.0)

    with patch.object(comfy.model_base.BaseModel, "_apply_model", evaluate), pytest.raises(PromptError) as caught:
        host.value(a.graph, a.node)
    assert_one_sentence(caught.value.message)
    assert "step 3" in caught.value.message and saved_step(a, base_directory) == 2


class TestAnotherCritic:
    """A run goes on only with what it began with; the sentence names what is different."""

    def guided(self, minis, name, *, weight=2.0, lora=None, controlled=None, steps=1, **changes):
        a = Adaptation(minis, "sd15", save_name=name, steps=steps, **changes)
        inputs, model = a.graph[a.node.id]["inputs"], a.model
        if lora:
            model = a.graph.add("LoraLoaderModelOnly", model=model, lora_name=minis.lora(), strength_model=lora)
        domain = a.graph.add("DomainGuidanceLoadUNet", unet_name=minis.domain(change=trained))
        inputs["model"] = [a.graph.add("DomainGuidanceApply", model=model, domain_model=domain, weight=weight).id, 0]
        if controlled:
            image, net = (
                a.graph.add("ProbeImage", seed=3),
                a.graph.add("ControlNetLoader", control_net_name=minis.controlnet()),
            )
            both = a.graph.add(
                "ControlNetApplyAdvanced",
                positive=a.positive,
                negative=a.negative,
                image=image,
                control_net=net,
                strength=controlled,
            )
            inputs |= {"positive": both[0], "negative": both[1]}
        return a

    def test_the_same_graph_is_the_same_critic_in_another_session(self, host, minis, base_directory):
        for steps in (1, 2):
            a = self.guided(minis, "same again", lora=0.5, controlled=0.5, steps=steps)
            host.value(a.graph, a.node, fresh=True)
        assert steps_of(a, base_directory) == [1, 2]

    @pytest.mark.parametrize(
        "change, named",
        [
            ({"weight": 3.0}, "domain weights was [2.0] and is [3.0]"),
            ({"lora": 0.6}, "LoRAs and patches"),
            ({"controlled": 0.7}, "positive prompt"),
            ({"cfg": 6.0}, "cfg was 5.0 and is 6.0"),
            ({"seed": 4}, "seed was 3 and is 4"),
            ({"regulariser_weight": 0.5}, "directional"),
            ({"resolution": 128}, "resolution"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_a_changed_critic_is_refused_by_name(self, host, minis, change, named):
        given = {"lora": 0.5, "controlled": 0.5, "regulariser": "directional"}
        name = f"changed {next(iter(change))}"
        first = self.guided(minis, name, **given)
        host.value(first.graph, first.node)
        other = self.guided(minis, name, steps=2, **{**given, **change})
        with pytest.raises(PromptError) as caught:
            host.value(other.graph, other.node)
        assert named in caught.value.message and "new version" in caught.value.message

    def test_another_generator_is_refused_too(self, host, minis):
        first = Adaptation(minis, save_name="other source", steps=1)
        host.value(first.graph, first.node)
        other = Adaptation(minis, save_name="other source", steps=2)
        other.graph[other.generator.id]["inputs"]["seed"] = 2
        with pytest.raises(PromptError, match="generator changed"):
            host.value(other.graph, other.node)
