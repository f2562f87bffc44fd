"""Save Domain UNet: any MODEL as a domain file, equal to the MODEL it was made from."""

import pytest
import torch
from safetensors.torch import load_file

from host_process import PromptError
from mini_models import trained, without_text
from scenes import EMPTY, assert_differs, assert_one_sentence, assert_same, build
from training_scenes import register


@pytest.fixture(scope="module", autouse=True)
def folders(host, base_directory):
    register(base_directory)


def save(s, model, name, **inputs):
    if not inputs.get("bare"):
        inputs.setdefault("empty_conditioning", s.prompt(EMPTY))
    inputs.pop("bare", None)
    return s.graph.add("DomainGuidanceSaveUNet", model=model, name=name, **inputs)


def card_of(host, base_directory, name):
    return host.library("domain_guidance.domain_file").read_card(base_directory / "output" / "diffusion_models" / name)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux"])
def test_the_saved_file_samples_as_the_model_does(host, minis, family):
    s = build(minis, family)
    model = s.load(minis.fine_tuned(family))
    file = host.value(s.graph, save(s, model, f"saved {family}"))
    expected = host.samples(s.graph, s.sample(model))
    assert_same(host.samples(s.graph, s.sample(s.load_domain(file))), expected)
    assert_same(host.samples(s.graph, s.sample(s.load(file))), expected)


def test_a_lora_on_the_model_is_in_the_file_and_the_base_is_the_models_own(host, minis, base_directory):
    s = build(minis)
    patched = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=minis.lora(), strength_model=1.0)
    file = host.value(s.graph, save(s, patched, "with lora"))
    assert_same(host.samples(s.graph, s.sample(s.load_domain(file))), host.samples(s.graph, s.sample(patched)))
    assert_differs(host.samples(s.graph, s.sample(s.load_domain(file))), host.samples(s.graph, s.sample(s.model)))
    base = minis.fingerprint({name.removeprefix("model.diffusion_model."): t for name, t in minis.read("diffusion_models", minis.unet("sd15")).items()})
    assert card_of(host, base_directory, file).base_fingerprint == base


@pytest.mark.parametrize("loader", ["UNETLoader", "DomainGuidanceLoadUNet"])
def test_a_velocity_model_is_loaded_as_one(host, minis, loader):
    """SDXL's loaders tell the kind by a tensor; without it the file would draw noise."""
    s = build(minis, "sdxl")
    velocity = s.graph.add("ModelSamplingDiscrete", model=s.model, sampling="v_prediction", zsnr=False)
    file = host.value(s.graph, save(s, velocity, "velocity"))
    loaded = s.graph.add(loader, unet_name=file)
    assert_same(host.samples(s.graph, s.sample(loaded)), host.samples(s.graph, s.sample(velocity)))
    assert_differs(host.samples(s.graph, s.sample(velocity)), host.samples(s.graph, s.sample(s.model)))


def test_the_base_model_names_what_the_file_was_trained_from(host, minis, base_directory):
    s = build(minis)
    model = s.load(minis.fine_tuned("sd15"))
    alone = card_of(host, base_directory, host.value(s.graph, save(s, model, "alone")))
    named = card_of(host, base_directory, host.value(s.graph, save(s, model, "named", base_model=s.model)))
    assert alone.base_fingerprint != named.base_fingerprint
    assert named.base_name == "sd15" and alone.base_name == "sd15_tuned"


def test_a_domain_file_saved_again_keeps_its_empty_prompt_its_form_and_its_base(host, minis, base_directory):
    s = build(minis)
    original = minis.domain(change=without_text, form="text-free")
    file = host.value(s.graph, save(s, s.load_domain(original), "again", bare=True))
    before, after = (minis.read("diffusion_models", original), load_file(str(base_directory / "output" / "diffusion_models" / file)))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    old = host.library("domain_guidance.domain_file").read_card(minis.root / "diffusion_models" / original)
    new = card_of(host, base_directory, file)
    assert (new.form, new.base_fingerprint, new.base_name) == ("text-free", old.base_fingerprint, old.base_name)


def test_the_users_model_is_bit_identical_afterwards(host, minis):
    s = build(minis)
    base = host.value(s.graph, s.model)
    # Sampled first: an earlier test's LoRA may still be in the weights that the loader's cached MODEL shares.
    plain = host.samples(s.graph, s.sample(s.model, seed=141))
    before = {name: tensor.clone() for name, tensor in base.model.diffusion_model.state_dict().items()}
    host.value(s.graph, save(s, s.model, "untouched"))
    assert all(torch.equal(before[name], tensor) for name, tensor in base.model.diffusion_model.state_dict().items())
    assert torch.equal(host.samples(s.graph, s.sample(s.model, seed=141), fresh=True), plain)


def test_a_name_that_is_taken_gets_a_number(host, minis, base_directory):
    s = build(minis)
    names = [host.value(s.graph, save(s, s.model, "twice"), fresh=True) for _ in range(2)]
    # A node that is an output runs in every prompt of its graph, so more files than prompts are fine; overwritten is none.
    assert names[0] == "twice.safetensors" and names[1] != names[0]


def refusal(host, s, node):
    with pytest.raises(PromptError) as caught:
        host.value(s.graph, node)
    assert_one_sentence(caught.value.message)
    return caught.value.message


def test_what_cannot_be_saved_is_said_in_one_sentence(host, minis):
    s = build(minis)
    assert "empty_conditioning" in refusal(host, s, save(s, s.model, "no prompt", bare=True))
    s = build(minis)
    guided = s.guide(s.model, s.load_domain(minis.domain(change=trained)))
    assert "before Apply Domain Guidance" in refusal(host, s, save(s, guided, "guided"))
    s = build(minis)
    assert "name of a file" in refusal(host, s, save(s, s.model, "../up"))
