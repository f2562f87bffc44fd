"""A training goes on only as what it began as, and says which part of it is another."""

import json

import pytest
import torch
from messages import refusal
from mini_models import FAMILIES
from prompts import Graph
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scenes import OTHER
from training_scenes import Training, register, result_of, state_of

FORMS = ["adapter", "empty-prompt", "side-network"]


class ProbeRounded:
    """A prompt as a text encoder in bf16 gives it."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def make(self, conditioning):
        return ([[cross_attn.to(torch.bfloat16).float(), rest] for cross_attn, rest in conditioning],)


@pytest.fixture(scope="module", autouse=True)
def folders(host, base_directory):
    import nodes

    register(base_directory)
    nodes.NODE_CLASS_MAPPINGS["ProbeRounded"] = ProbeRounded


def training(minis, name, family="sd15", *, on=None, **changes):
    """on: puts something on the base."""
    graph = Graph()
    model = graph.add("UNETLoader", unet_name=minis.unet(family))
    model = model if on is None else on(graph, model)
    return Training(
        minis, family, save_name=name, graph=graph, model=model, **{"steps": 2, "evaluate_every": 0, **changes}
    )


def with_prompt(t, seed):
    dim, pooled, _, _ = FAMILIES[t.family]
    return reconnect(t, lambda _: t.graph.add("ProbeConditioning", seed=seed, dim=dim, pooled=pooled))


def reconnect(t, prompt):
    """Put what `prompt` makes of the connected empty prompt in its place."""
    inputs = t.graph[t.node.id]["inputs"]
    inputs["empty_conditioning"] = [prompt(inputs["empty_conditioning"]).id, 0]
    return t


def zero_snr(graph, model):
    return graph.add("ModelSamplingDiscrete", model=model, sampling="eps", zsnr=True)


def shifted(graph, model):
    return graph.add("ModelSamplingSD3", model=model, shift=4.5)


def lora(minis, strength):
    name = minis.lora()
    return lambda graph, model: graph.add("LoraLoaderModelOnly", model=model, lora_name=name, strength_model=strength)


def refused(host, t, base_directory):
    """What is said instead of going on; the run stays as it was."""
    before = state_of(t, base_directory).read_bytes(), result_of(t, base_directory).read_bytes()
    message = refusal(host, t, t.node)
    assert (state_of(t, base_directory).read_bytes(), result_of(t, base_directory).read_bytes()) == before
    return message


@pytest.mark.parametrize("form", FORMS)
def test_with_another_empty_prompt_it_is_refused(host, minis, base_directory, form):
    name = f"{form} of another prompt"
    first = training(minis, name, form=form)
    host.value(first.graph, first.node)
    for steps in (2, 4):  # a finished run, too, whose card would say what it was not trained with
        other = with_prompt(training(minis, name, form=form, steps=steps), OTHER)
        assert "cannot be resumed: the empty prompt changed. Change" in refused(host, other, base_directory)


@pytest.mark.parametrize("form", FORMS)
def test_with_a_lora_or_another_strength_of_it_it_is_refused(host, minis, base_directory, form):
    name = f"{form} on another lora"
    first = training(minis, name, form=form, on=lora(minis, 0.5))
    host.value(first.graph, first.node)
    for on in (None, lora(minis, 0.6)):
        other = training(minis, name, form=form, steps=4, on=on)
        message = refused(host, other, base_directory)
        assert "cannot be resumed: the LoRAs and patches on the model changed. Change" in message


@pytest.mark.parametrize("form", ["adapter", "side-network"])
@pytest.mark.parametrize("family, on", [("sd15", zero_snr), ("sd3", shifted)], ids=["zero snr", "shift"])
def test_with_other_noise_levels_it_is_refused(host, minis, base_directory, form, family, on):
    name = f"{form} of other levels on {family}"
    first = training(minis, name, family, form=form)
    host.value(first.graph, first.node)
    other = training(minis, name, family, form=form, steps=4, on=on)
    assert "cannot be resumed: the noise levels of the model changed. Change" in refused(host, other, base_directory)


def test_with_another_distilled_guidance_it_is_refused(host, minis):
    identity = host.library("nodes.comfy_host.training.identity").run_identity
    check = host.library("domain_guidance.runs.same_run").check_same_run
    t = training(minis, "another guidance")
    model = host.value(t.graph, t.model)
    saved, now = (
        identity(model, [[torch.ones(1, 3, 8), {"guidance": guidance}]], "adapter", "0" * 16) for guidance in (3.5, 1.5)
    )
    with pytest.raises(ValueError, match="cannot be resumed: the distilled guidance was 3.5 and is 1.5. Change"):
        check(saved, now, "a run")


@pytest.mark.parametrize("form", FORMS)
def test_a_patch_on_attention_counts_where_the_model_is_asked_as_in_a_sampler(host, minis, base_directory, form):
    def freeu(graph, model):
        return graph.add("FreeU_V2", model=model)

    name = f"{form} with a patch"
    first = training(minis, name, form=form)
    host.value(first.graph, first.node)
    other = training(minis, name, form=form, steps=3, on=freeu)
    if form == "side-network":
        assert "the LoRAs and patches on the model changed" in refused(host, other, base_directory)
    else:  # its weights are trained, which the patch does not concern
        host.value(other.graph, other.node)


@pytest.mark.parametrize("form", FORMS)
def test_a_state_of_an_earlier_version_goes_on_and_then_knows(host, minis, base_directory, form):
    name = f"{form} of an earlier version"
    first = training(minis, name, form=form, on=lora(minis, 0.5))
    host.value(first.graph, first.node)
    forget(host, state_of(first, base_directory))
    longer = training(minis, name, form=form, steps=3, on=lora(minis, 0.6))
    host.value(longer.graph, longer.node)
    again = training(minis, name, form=form, steps=4, on=lora(minis, 0.5))
    assert "the LoRAs and patches on the model changed" in refused(host, again, base_directory)


def forget(host, path):
    """Take out of a state what earlier versions did not save."""
    later = host.library("domain_guidance.runs.same_run").SAID_LATER
    with safe_open(str(path), "pt") as file:
        metadata = file.metadata()
    record = json.loads(metadata["record"])
    known = {key: value for key, value in record["identity"].items() if key not in later}
    # A side network has also said its size.
    assert len(known) == len(record["identity"]) - 3 - (record["identity"]["form"] == "side-network")
    metadata["record"] = json.dumps({**record, "identity": known})
    save_file(load_file(str(path)), str(path), metadata)


def test_in_another_precision_of_the_base_and_of_the_text_encoder_it_goes_on(host, minis, base_directory):
    """As with --lowvram, or where the base is loaded in fp8; what is on it is the same."""
    name = "in another precision"
    first = training(minis, name, form="side-network", on=lora(minis, 0.5))
    host.value(first.graph, first.node)
    graph = Graph()
    fp8 = graph.add("UNETLoader", unet_name=minis.unet("sd15"), weight_dtype="fp8_e4m3fn")
    again = Training(
        minis,
        save_name=name,
        graph=graph,
        model=lora(minis, 0.5)(graph, fp8),
        form="side-network",
        steps=4,
        evaluate_every=0,
    )
    reconnect(again, lambda prompt: again.graph.add("ProbeRounded", conditioning=prompt))
    host.value(again.graph, again.node)
