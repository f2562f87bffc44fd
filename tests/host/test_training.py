"""Train Domain in the real host, on real handwriting: every form learns, every loader reads the result, the base
stays.
"""

import json
import logging
from unittest.mock import patch

import pytest
import torch
from host_process import PromptError
from messages import hearing, refusal
from prompts import ksampler
from safetensors import safe_open
from safetensors.torch import load_file
from scenes import EMPTY, POSITIVE, assert_differs, assert_one_sentence, assert_same, build
from training_scenes import Training, held_out, register, result_of, state_of

RUNS = {
    "sd15 adapter": ("sd15", {"learning_rate": 3e-4}),
    "sd15 text-free": ("sd15", {"form": "text-free", "learning_rate": 2e-5}),
    "sdxl adapter": ("sdxl", {"learning_rate": 1e-4, "steps": 4, "evaluate_every": 4, "gradient_checkpointing": True}),
    "sdxl text-free": ("sdxl", {"form": "text-free", "learning_rate": 5e-6, "steps": 4, "evaluate_every": 4}),
    "sd3 adapter": ("sd3", {"learning_rate": 2e-3, "gradient_checkpointing": True}),
    "sd3 empty-prompt": ("sd3", {"form": "empty-prompt", "learning_rate": 2e-4}),
    "flux empty-prompt": ("flux", {"form": "empty-prompt", "learning_rate": 2e-4, "gradient_checkpointing": True}),
}


@pytest.fixture(scope="module", autouse=True)
def folders(host, base_directory):
    register(base_directory)


@pytest.fixture(params=RUNS)
def run(request, minis):
    family, settings = RUNS[request.param]
    return Training(minis, family, save_name=request.param, **settings)


@pytest.fixture
def sampled(host):
    """The latent that a MODEL draws for the empty prompt."""

    def sample(training, model):
        s = training.scene()
        return host.samples(s.graph, ksampler(s.graph, model, s.negative, s.negative, s.latent, cfg=1.0))

    return sample


def test_every_form_lowers_the_held_out_loss_and_keeps_the_users_model_bit_for_bit(host, run, base_directory):
    base = host.value(run.graph, run.model)
    before = {name: tensor.clone() for name, tensor in base.model.diffusion_model.state_dict().items()}
    host.value(run.graph, run.node)
    losses = held_out(run, base_directory)
    assert losses[-1] < 0.98 * losses[0], losses
    after = base.model.diffusion_model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_returned_model_is_what_later_prompts_read_from_the_file(host, run, sampled, caplog):
    """By Load Domain UNet, for a LoRA there is none, and by the host's own loader."""
    returned = sampled(run, run.node)
    assert_differs(returned, sampled(run, run.model), at_least=1e-4)
    file = host.value(run.graph, run.node[2])
    with caplog.at_level(logging.WARNING):
        for model in run.loaded(file):
            assert_same(sampled(run, model), returned)
    unread = ("NOT LOADED", "not loaded", "unet ")
    assert not [record.message for record in caplog.records if any(words in record.message for words in unread)]


def test_what_any_loader_makes_of_the_file_guides_without_further_inputs(host, run):
    """The host's LoRA loader hands the adapter's prompt on; of its full networks only ours knows it, so the others get
    it.
    """
    file = host.value(run.graph, run.node[2])
    for model in run.loaded(file):
        s = run.scene()
        brings = run.form == "adapter" or s.graph[model.id]["class_type"] == "DomainGuidanceLoadUNet"
        given = host.samples(s.graph, s.sample(s.guide(s.model, model, domain_conditioning=s.prompt(EMPTY))))
        if brings:
            assert_same(host.samples(s.graph, s.sample(s.guide(s.model, model))), given)
        else:
            with pytest.raises(PromptError, match="has no stored empty prompt"):
                host.value(s.graph, s.guide(s.model, model))
        assert_differs(given, host.samples(s.graph, s.sample(s.model)), at_least=1e-4)


def test_the_returned_model_guides_without_further_inputs(host, run):
    s = run.scene()
    guided = s.guide(s.model, run.node, weight=2.0)
    assert_differs(host.samples(s.graph, s.sample(guided)), host.samples(s.graph, s.sample(s.model)), at_least=1e-4)


def test_the_best_file_loads_as_the_training_that_stopped_at_its_lowest_held_out_loss(
    host, minis, base_directory, sampled
):
    """With a rate so high that the last step is a bad one."""
    settings = {"form": "text-free", "learning_rate": 1e-2}
    overshot = Training(minis, save_name="overshot", steps=4, evaluate_every=1, **settings)
    file = host.value(overshot.graph, overshot.node[2])
    losses = held_out(overshot, base_directory)
    best = min(range(1, 5), key=losses.__getitem__)
    stopped = Training(minis, save_name="stopped", steps=best, evaluate_every=0, **settings)
    expected = sampled(stopped, stopped.node)
    assert best < 4
    for model in overshot.loaded(file.replace(".safetensors", ".best.safetensors")):
        assert_same(sampled(overshot, model), expected)


def test_a_domain_that_memorises_says_so_at_the_node_and_names_the_better_file(host, minis):
    training, said = Training(minis, save_name="by heart", steps=4, evaluate_every=1), []
    known = patch.object(
        host.library("domain_guidance.training.domain_run"),
        "memorising",
        lambda points: "It memorises." * (len(points) > 3),
    )
    with (
        known,
        patch.object(host.library("nodes.train"), "line_at", hearing(said)),
    ):
        host.value(training.graph, training.node)
    told = [line for slot, line in said if slot == "memorising"]
    assert [*dict.fromkeys(told)] == ["", "It memorises."] and told[-1] == "It memorises."
    slot, last = said[-1]
    assert slot == "state" and last == (
        "The training has finished its 4 steps and saved 'output/loras/by heart.safetensors'. Connect domain_model to "
        "Apply Domain Guidance, or load the file later with Load Domain Adapter (press R if its list lacks the file). "
        "'by heart.best.safetensors' beside it has the "
        "lowest loss on held-out images: with a few dozen images, load that one."
    )


def test_the_file_is_a_card(host, minis, base_directory):
    """Pictures, base, number of images, held-out loss: all that someone else needs to know."""
    training = Training(minis, save_name="carded", steps=2, preview_every=1, evaluate_every=1)
    host.value(training.graph, training.node)
    with safe_open(str(result_of(training, base_directory)), "pt") as file:
        card = json.loads(file.metadata()["domain_guidance"])
    record = card["training"]
    assert card["base_name"] == "sd15" and len(card["base_fingerprint"]) == 16
    assert (record["images"], record["held_out_images"], record["trained_steps"]) == (20, 4, 2)
    assert record["held_out_loss"] > 0 and record["form"] == "adapter" and record["pictures_of_step"] == 2
    assert (card["recommended_weight"], card["recommended_cfg"]) == (1.5, 3.0)


@pytest.mark.parametrize("form", ["adapter", "empty-prompt"])
def test_the_hosts_model_browser_shows_what_the_domain_draws(host, minis, base_directory, form):
    from app.model_manager import ModelFileManager
    from PIL import Image

    training = Training(minis, save_name=f"pictured {form}", steps=1, preview_every=1, evaluate_every=0, form=form)
    host.value(training.graph, training.node)
    (picture,) = ModelFileManager().get_model_previews(str(result_of(training, base_directory)))
    assert Image.open(picture).size == (128, 64)


@pytest.mark.parametrize("more", [0, 1])
def test_a_training_that_goes_on_without_a_new_picture_keeps_the_last_one(host, minis, base_directory, more):
    library, found = host.library("domain_guidance.domains.domain_file"), []
    for steps, preview_every in ((2, 2), (2 + more, 5)):
        training = Training(
            minis, save_name=f"keeps {more}", steps=steps, evaluate_every=0, preview_every=preview_every
        )
        host.value(training.graph, training.node, fresh=True)
        path = result_of(training, base_directory)
        found.append((library.read_covers(path), library.read_card(path).training["pictures_of_step"]))
    assert found[0] == found[1] and len(found[0][0]) == 1 and found[0][1] == 2


def test_another_training_under_an_old_name_does_not_show_the_old_pictures(host, minis, base_directory):
    training = Training(minis, save_name="replaced", steps=1, evaluate_every=0, preview_every=1)
    host.value(training.graph, training.node)
    state_of(training, base_directory).unlink()
    plain = Training(minis, save_name="replaced", steps=1, evaluate_every=0)
    host.value(plain.graph, plain.node)
    assert host.library("domain_guidance.domains.domain_file").read_covers(result_of(plain, base_directory)) == ()


class TestStackedLoras:
    """A domain adapter among the user's own LoRAs, read by the host's loader alone."""

    @pytest.fixture
    def file(self, host, minis):
        training = Training(minis, save_name="stacked", steps=2, learning_rate=3e-3)
        return host.value(training.graph, training.node[2])

    def adapter(self, s, model, file):
        return s.graph.add("LoraLoaderModelOnly", model=model, lora_name=file, strength_model=1.0)

    def own_lora(self, s, model, minis):
        """With metadata, as most trainers write them: the host keeps those of the topmost LoRA."""
        from safetensors.torch import save_file

        tensors = minis.read("loras", minis.lora())
        save_file(tensors, str(minis.root / "loras" / "own.safetensors"), {"ss_output_name": "own"})
        return s.graph.add("LoraLoaderModelOnly", model=model, lora_name="own.safetensors", strength_model=0.5)

    @pytest.mark.parametrize("order", ["alone", "own on top", "own below", "own on both sides"])
    def test_the_prompt_is_found_wherever_the_adapter_is(self, host, minis, file, order):
        s = build(minis)
        model = self.own_lora(s, s.model, minis) if order in ("own below", "own on both sides") else s.model
        domain = self.adapter(s, model, file)
        if order in ("own on top", "own on both sides"):
            domain = self.own_lora(s, domain, minis)
        given = s.guide(s.model, domain, domain_conditioning=s.prompt(EMPTY))
        assert_same(host.samples(s.graph, s.sample(s.guide(s.model, domain))), host.samples(s.graph, s.sample(given)))
        origin = host.library("nodes.comfy_host.domains.origin").origin_of(host.value(s.graph, domain))
        assert (
            torch.equal(origin.empty[0][0], host.value(s.graph, s.prompt(EMPTY))[0][0])
            and origin.card.base_name == "sd15"
        )

    def test_a_lora_of_others_brings_no_prompt_and_that_is_said(self, host, minis):
        s = build(minis)
        domain = self.own_lora(s, s.model, minis)
        with pytest.raises(PromptError, match="has no stored empty prompt"):
            host.value(s.graph, s.guide(s.model, domain))

    def test_on_a_merge_the_adapters_base_is_the_merge(self, host, minis, file, caplog):
        """W + dW against W: nothing of the difference between two bases is in the term, so there is nothing to
        warn of.
        """
        s = build(minis)
        merge = s.load(minis.fine_tuned("sd15"))
        guided = s.guide(merge, self.adapter(s, merge, file))
        with caplog.at_level(logging.WARNING):
            host.samples(s.graph, s.sample(guided))
            assert not [record.message for record in caplog.records if "a different base" in record.message]
            host.value(s.graph, s.guide(s.model, self.adapter(s, merge, file)))
        assert [record.message for record in caplog.records if "a different base" in record.message]


def test_a_damaged_prompt_in_an_adapter_is_said_in_one_sentence(host, minis, base_directory):
    from safetensors.torch import save_file

    training = Training(minis, save_name="whole", steps=1, evaluate_every=0)
    host.value(training.graph, training.node)
    path = result_of(training, base_directory)
    with safe_open(str(path), "pt") as file:
        metadata = {**file.metadata(), "domain_guidance.empty_prompt": "no base64"}
    save_file(load_file(str(path)), str(path.with_name("torn prompt.safetensors")), metadata)
    s = training.scene()
    domain = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name="torn prompt.safetensors", strength_model=1.0)
    with pytest.raises(PromptError, match="empty prompt in 'the domain adapter' is damaged") as caught:
        host.value(s.graph, s.guide(s.model, domain))
    assert_one_sentence(caught.value.message)


def test_text_free_training_moves_everything_but_the_text_path(host, minis, base_directory):
    training = Training(minis, save_name="parts", form="text-free", steps=2, learning_rate=1e-3, mirror=0.0)
    host.value(training.graph, training.node)
    prefix = "model.diffusion_model."
    base = {
        name.removeprefix(prefix): tensor for name, tensor in minis.read("diffusion_models", minis.unet("sd15")).items()
    }
    trained = {
        name.removeprefix(prefix): tensor
        for name, tensor in load_file(str(result_of(training, base_directory))).items()
    }
    for name, tensor in base.items():
        if name.endswith("attn2.to_v.weight"):
            assert not trained[name].any()
        elif (
            ".attn2.to_q" in name
            or ".attn2.to_k" in name
            or name.endswith("attn2.to_out.0.weight")
            or ".norm2." in name
        ):
            assert torch.equal(trained[name], tensor), name
        else:
            assert not torch.equal(trained[name], tensor), name


def test_an_adapter_leaves_the_cross_attention_alone_and_moves_all_its_own_layers(host, minis, base_directory):
    training = Training(minis, save_name="outside", steps=2)
    host.value(training.graph, training.node)
    tensors = load_file(str(result_of(training, base_directory)))
    layers = {name.split(".lora_down")[0] for name in tensors if ".lora_down" in name}
    assert len(layers) > 10 and not [name for name in layers if "attn2" in name]
    assert all(tensors[f"{name}.lora_down.weight"].any() for name in layers)
    weights = minis.read("diffusion_models", minis.unet("sd15"))
    for name in layers:
        down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
        assert down.shape[1:] == weights[f"model.{name}.weight"].shape[1:] and up.shape[0] == len(
            weights[f"model.{name}.weight"]
        )


def test_an_adapter_is_trained_on_narrow_weights_and_then_adds_to_them(host, minis, base_directory):
    s = build(minis)
    narrow = s.graph.add("UNETLoader", unet_name=minis.unet("sd15"), weight_dtype="fp8_e4m3fn")
    training = Training(minis, save_name="narrow", graph=s.graph, model=narrow, learning_rate=3e-4)
    host.value(training.graph, training.node)
    losses = held_out(training, base_directory)
    assert losses[-1] < 0.98 * losses[0]


def test_a_lora_on_the_input_is_part_of_what_is_trained(host, minis, base_directory):
    """The base of an adapter is the model as connected: its loss before the first step is the patched model's."""
    first = {}
    for name, strength in (("with lora", 1.0), ("without lora", 0.0)):
        training = Training(minis, save_name=name, steps=1, evaluate_every=1)
        patched = training.graph.add(
            "LoraLoaderModelOnly", model=training.model, lora_name=minis.lora(), strength_model=strength
        )
        training.graph[training.node.id]["inputs"]["model"] = patched[0]
        host.value(training.graph, training.node)
        first[name] = held_out(training, base_directory)[0]
    assert abs(first["with lora"] / first["without lora"] - 1) > 0.01


def test_the_empty_prompt_in_the_file_is_the_one_of_the_training(host, minis, base_directory):
    training = Training(minis, save_name="prompted", steps=1, form="empty-prompt")
    host.value(training.graph, training.node)
    s = training.scene()
    assert torch.equal(
        load_file(str(result_of(training, base_directory)))["domain.cross_attn"],
        host.value(s.graph, s.prompt(EMPTY))[0][0],
    )
    assert not torch.equal(host.value(s.graph, s.prompt(POSITIVE))[0][0], host.value(s.graph, s.prompt(EMPTY))[0][0])


@pytest.mark.parametrize("form", ["adapter", "text-free"])
def test_a_base_with_zero_terminal_snr_gives_a_domain_with_it(host, minis, base_directory, sampled, form):
    training = Training(minis, save_name=f"zero snr {form}", steps=1, evaluate_every=0, form=form)
    base = training.graph.add("ModelSamplingDiscrete", model=training.model, sampling="v_prediction", zsnr=True)
    training.graph[training.node.id]["inputs"]["model"] = base[0]
    returned = sampled(training, training.node)
    card = host.library("domain_guidance.domains.domain_file").read_card(result_of(training, base_directory))
    assert (card.prediction, card.zero_terminal_snr) == ("v_prediction", True)
    if form != "adapter":
        assert_same(sampled(training, training.loaded(result_of(training, base_directory).name)[0]), returned)


@pytest.mark.parametrize("form", ["text-free", "empty-prompt"])
def test_a_network_that_no_loader_would_know_again_is_refused_before_any_work(host, base_directory, form):
    from prompts import Graph

    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="3", stroke="red", ground="any", batch_size=1)
    training = Training(
        None,
        save_name=f"toy {form}",
        graph=graph,
        model=toy[0],
        vae=toy[2],
        empty_conditioning=toy[4],
        resolution=16,
        form=form,
    )
    message = refusal(host, training, training.node)
    assert "adapter" in message
    assert not list(base_directory.rglob(f"toy {form}*"))


def test_the_toy_world_can_be_trained_further(host, base_directory):
    """A model that the host's detection does not know, in pixels: nothing in a training hangs on a checkpoint's
    file.
    """
    from prompts import Graph

    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="3", stroke="red", ground="any", batch_size=1)
    training = Training(
        None,
        save_name="toy",
        graph=graph,
        model=toy[0],
        vae=toy[2],
        empty_conditioning=toy[4],
        resolution=16,
        learning_rate=1e-3,
        steps=30,
        evaluate_every=30,
    )
    guided = graph.add("DomainGuidanceApply", model=toy[0], domain_model=training.node, weight=2.0)
    assert torch.isfinite(host.samples(graph, ksampler(graph, guided, toy[3], toy[4], toy[5]))).all()
    losses = held_out(training, base_directory)
    assert losses[-1] < losses[0]
