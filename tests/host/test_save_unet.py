"""Save Domain UNet: any MODEL as a domain file, equal to the MODEL it was made from."""

from unittest.mock import patch

import pytest
import torch
from host_process import PromptError
from mini_models import trained, without_text
from probe_nodes import seeded
from prompts import Graph
from safetensors.torch import load_file
from scenes import EMPTY, assert_differs, assert_one_sentence, assert_same, build
from training_scenes import Training, register, result_of
from watchers import watch_evaluations


@pytest.fixture(scope="module", autouse=True)
def folders(host, base_directory):
    register(base_directory)


def save(s, model, name, **inputs):
    if not inputs.get("bare"):
        inputs.setdefault("empty_conditioning", s.prompt(EMPTY))
    inputs.pop("bare", None)
    return s.graph.add("DomainGuidanceSaveUNet", model=model, name=name, **inputs)


def card_of(host, base_directory, name):
    return host.library("domain_guidance.domains.domain_file").read_card(
        base_directory / "output" / "diffusion_models" / name
    )


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
    base = minis.fingerprint(
        {
            name.removeprefix("model.diffusion_model."): t
            for name, t in minis.read("diffusion_models", minis.unet("sd15")).items()
        }
    )
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


@pytest.mark.parametrize("family", ["sd15", "sd20", "sdxl"])
@pytest.mark.parametrize("zsnr", [False, True])
def test_an_untrained_velocity_domain_adds_nothing_to_its_velocity_base(host, minis, base_directory, family, zsnr):
    """The host takes such a file for noise prediction (SD1.5, SD2); the card knows better."""
    s = build(minis, family)
    velocity = s.graph.add("ModelSamplingDiscrete", model=s.model, sampling="v_prediction", zsnr=zsnr)
    file = host.value(s.graph, save(s, velocity, f"untrained velocity {family} {zsnr}"))
    card = card_of(host, base_directory, file)
    assert (card.prediction, card.zero_terminal_snr) == ("v_prediction", zsnr)
    domain = s.load_domain(file)
    assert_same(host.samples(s.graph, s.sample(domain)), host.samples(s.graph, s.sample(velocity)))
    # The first step from zero terminal SNR (sigma 4,518) rounds a latent to 2e-4, more than any difference looked for.
    below = {"denoise": 0.75} if zsnr else {}
    plain = host.samples(s.graph, s.sample(velocity, **below))
    assert_same(host.samples(s.graph, s.sample(s.guide(velocity, domain, weight=2.0), **below)), plain)
    loaded = host.value(s.graph, domain)
    assert (
        host.library("nodes.comfy_host.domains.prediction").has_zero_terminal_snr(
            loaded.get_model_object("model_sampling")
        )
        is zsnr
    )


def test_a_noise_domain_is_loaded_as_the_host_detects_it_without_a_patch(host, minis):
    s = build(minis)
    loaded = host.value(s.graph, s.load_domain(minis.domain(change=trained)))
    assert "model_sampling" not in loaded.object_patches


def test_a_noise_domain_in_weights_that_the_host_takes_for_velocity_is_loaded_as_noise(host, minis, base_directory):
    """A base that the host takes for velocity and the user has set to noise prediction."""
    s = build(minis, "sdxl")
    velocity = s.graph.add("ModelSamplingDiscrete", model=s.model, sampling="v_prediction", zsnr=False)
    marked = s.load(host.value(s.graph, save(s, velocity, "marked")))
    noise = s.graph.add("ModelSamplingDiscrete", model=marked, sampling="eps", zsnr=False)
    domain = s.load_domain(host.value(s.graph, save(s, noise, "set to noise")))
    assert_same(host.samples(s.graph, s.sample(domain)), host.samples(s.graph, s.sample(s.model)))


@pytest.fixture
def dev(minis):
    """A Flux of the dev kind, which reads a guidance; a file name."""

    def build_file():
        state = dict(minis.read("diffusion_models", minis.unet("flux")))
        prefix = "model.diffusion_model.guidance_in."
        shapes = {
            "in_layer.weight": (128, 256),
            "in_layer.bias": (128,),
            "out_layer.weight": (128, 128),
            "out_layer.bias": (128,),
        }
        return state | {prefix + name: 0.2 * seeded(9, *shape) for name, shape in shapes.items()}

    return minis._once("diffusion_models", "flux_dev.safetensors", build_file)


def guidance_seen(host, s, link):
    """The guidance values that each evaluated network of a run was fed."""
    import comfy.ldm.flux.model

    seen, original = {}, comfy.ldm.flux.model.Flux.forward_orig

    def forward(self, img, img_ids, txt, txt_ids, timesteps, y, guidance=None, *args, **kwargs):
        seen.setdefault(id(self), set()).update(guidance.flatten().tolist())
        return original(self, img, img_ids, txt, txt_ids, timesteps, y, guidance, *args, **kwargs)

    with patch.object(comfy.ldm.flux.model.Flux, "forward_orig", forward):
        host.value(s.graph, link, fresh=True)
    return sorted(seen.values(), key=len)


def test_fluxs_guidance_of_the_training_is_in_the_file_and_on_the_domain_branch(host, minis, base_directory, dev):
    s = build(minis, "flux")
    model = s.load(dev)
    empty = s.graph.add("FluxGuidance", conditioning=s.prompt(EMPTY), guidance=1.5)
    file = host.value(s.graph, save(s, model, "flux dev", empty_conditioning=empty))
    assert card_of(host, base_directory, file).guidance == 1.5
    positive, negative = (
        s.graph.add("FluxGuidance", conditioning=link, guidance=4.0) for link in (s.positive, s.negative)
    )
    guided = s.guide(model, s.load_domain(file), weight=2.0)
    # The sampler's own evaluations keep the user's value; domain and subtrahend see the file's.
    assert guidance_seen(host, s, s.sample(guided, positive=positive, negative=negative)) == [{1.5}, {1.5, 4.0}]
    plain = host.samples(s.graph, s.sample(model, positive=positive, negative=negative))
    assert_same(host.samples(s.graph, s.sample(guided, positive=positive, negative=negative)), plain)


@pytest.mark.parametrize(("said", "evaluations"), [(None, 3), (3.5, 3), (4.0, 4)])
def test_a_guidance_that_the_sampler_has_as_well_costs_no_further_evaluation(host, minis, dev, said, evaluations):
    """3.5 is what the host feeds where a prompt says none."""
    s = build(minis, "flux")
    model = s.load(dev)
    empty = s.graph.add("FluxGuidance", conditioning=s.prompt(EMPTY), guidance=3.5)
    guided = s.guide(
        model, s.load_domain(host.value(s.graph, save(s, model, "flux default", empty_conditioning=empty)))
    )
    if said is not None:
        s.positive, s.negative = (
            s.graph.add("FluxGuidance", conditioning=link, guidance=said) for link in (s.positive, s.negative)
        )
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(guided, steps=3), fresh=True)
    assert seen.elements(steps=3) == evaluations


def test_without_a_recorded_guidance_the_domain_branch_sees_the_samplers(host, minis, base_directory, dev):
    s = build(minis, "flux")
    model = s.load(dev)
    file = host.value(s.graph, save(s, model, "flux without"))
    assert card_of(host, base_directory, file).guidance is None
    positive, negative = (
        s.graph.add("FluxGuidance", conditioning=link, guidance=4.0) for link in (s.positive, s.negative)
    )
    guided = s.guide(model, s.load_domain(file), weight=2.0)
    assert guidance_seen(host, s, s.sample(guided, positive=positive, negative=negative)) == [{4.0}, {4.0}]


@pytest.mark.parametrize(("given", "recorded"), [(2.5, 2.5), (None, 3.5)])
def test_train_domain_records_the_guidance_that_it_fed(host, minis, base_directory, dev, given, recorded):
    t = Training(minis, "flux", save_name=f"trained at {recorded}", steps=1, evaluate_every=0)
    t.graph[t.model.id]["inputs"]["unet_name"] = dev
    if given is not None:
        t.graph[t.node.id]["inputs"]["empty_conditioning"] = t.graph.add(
            "FluxGuidance", conditioning=t.scene().prompt(EMPTY), guidance=given
        )[0]
    assert guidance_seen(host, t, t.node[2]) == [{recorded}]
    assert (
        host.library("domain_guidance.domains.domain_file").read_card(result_of(t, base_directory)).guidance == recorded
    )
    origin = host.library("nodes.comfy_host.domains.origin").origin_of(host.value(t.graph, t.node[0]))
    assert origin.empty[0][1]["guidance"] == recorded


def test_a_guidance_that_no_network_reads_is_not_recorded(host, minis, base_directory):
    s = build(minis)
    empty = s.graph.add("FluxGuidance", conditioning=s.prompt(EMPTY), guidance=1.5)
    assert (
        card_of(
            host, base_directory, host.value(s.graph, save(s, s.model, "no flux", empty_conditioning=empty))
        ).guidance
        is None
    )


def test_an_adapter_saved_as_a_network_has_the_weights_below_it_as_its_base(host, minis, base_directory):
    t = Training(minis, save_name="to be baked", steps=1, evaluate_every=0)
    file = host.value(t.graph, t.node[2])
    s = build(minis)
    merge = s.load(minis.fine_tuned("sd15"))
    adapted = s.graph.add("LoraLoaderModelOnly", model=merge, lora_name=file, strength_model=1.0)
    card = card_of(host, base_directory, host.value(s.graph, save(s, adapted, "baked", bare=True)))
    prefix = "model.diffusion_model."
    own = {
        name.removeprefix(prefix): tensor
        for name, tensor in minis.read("diffusion_models", minis.fine_tuned("sd15")).items()
    }
    assert card.base_fingerprint == minis.fingerprint(own) and card.base_name == "sd15_tuned"


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
    before, after = (
        minis.read("diffusion_models", original),
        load_file(str(base_directory / "output" / "diffusion_models" / file)),
    )
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    old = host.library("domain_guidance.domains.domain_file").read_card(minis.root / "diffusion_models" / original)
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
    # A node that is an output runs in every prompt of its graph, so more files than prompts are fine; overwritten is
    # none.
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


def test_a_name_that_windows_cannot_have_is_refused_before_any_work(host, minis):
    s = build(minis)
    node = save(s, s.model, "style: anime")
    with patch.object(host.library("nodes.comfy_host.domains.save_domain"), "_weights", side_effect=AssertionError):
        assert "because Windows does not allow ':' in names" in refusal(host, s, node)


def test_a_network_that_no_loader_would_know_again_is_refused(host, base_directory):
    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="3", stroke="red", ground="any", batch_size=1)
    with pytest.raises(PromptError) as caught:
        host.value(
            graph, graph.add("DomainGuidanceSaveUNet", model=toy[0], empty_conditioning=toy[4], name="toy whole")
        )
    assert_one_sentence(caught.value.message)
    assert "adapter" in caught.value.message
    assert not list(base_directory.rglob("toy whole*"))
