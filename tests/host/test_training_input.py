"""What Train Domain reads, and what it refuses in one sentence."""

import logging
import os
from unittest.mock import patch

import pytest
import torch
from host_process import PromptError
from PIL import Image
from scenes import EMPTY, assert_one_sentence, build
from small_card import small_card
from training_scenes import Training, handwriting, held_out, log_of, register, result_of, state_of


@pytest.fixture(scope="module", autouse=True)
def folders(host, base_directory):
    register(base_directory)


@pytest.fixture
def picture_folder(base_directory, tmp_path):
    """input/<name>: ten digits as files of several kinds, some in a sub-folder, one of them broken; the folder's
    name.
    """
    name = tmp_path.name
    root = base_directory / "input" / name
    (root / "more").mkdir(parents=True)
    for number, image in enumerate(handwriting(10)):
        kind = ("png", "jpg", "webp", "bmp", "tiff")[number % 5]
        place = root / ("more" if number > 6 else "") / f"{number}.{kind}"
        Image.fromarray((image * 255).round().to(torch.uint8).numpy()).save(place)
    (root / "broken.png").write_bytes(b"no picture")
    return name


def refusal(host, t):
    with pytest.raises(PromptError) as caught:
        host.value(t.graph, t.node)
    assert_one_sentence(caught.value.message)
    return caught.value.message


def from_folder(minis, name, folder, **changes):
    return Training(minis, save_name=name, images=None, folder=folder, **{"steps": 1, "evaluate_every": 0, **changes})


def test_a_folder_is_read_with_its_sub_folders_and_a_broken_image_is_named(
    host, minis, base_directory, picture_folder, caplog
):
    t = from_folder(minis, "from a folder", picture_folder)
    with caplog.at_level(logging.INFO):
        host.value(t.graph, t.node)
    assert "10 images used" in log_of(t, base_directory)[0]["message"]
    assert "1 skipped" in log_of(t, base_directory)[0]["message"]
    assert any("broken.png" in record.message for record in caplog.records if record.levelno == logging.WARNING)


def test_a_second_training_on_the_same_images_encodes_none(host, minis, picture_folder):
    posteriors = host.library("nodes.comfy_host.training.vae_posterior").Posteriors
    counts, original = [], posteriors.encode

    def encode(self, pixels):
        counts.append(len(pixels))
        return original(self, pixels)

    for name in ("first of two", "second of two"):
        with patch.object(posteriors, "encode", encode):
            t = from_folder(minis, name, picture_folder, resolution=128)
            host.value(t.graph, t.node)
        counts.append("|")
    # Each image and its mirror, then nothing.
    assert sum(counts[: counts.index("|")]) == 20 and counts[-2:] == ["|", "|"]


def test_new_images_in_the_folder_make_the_node_run_again(host, minis, base_directory, picture_folder):
    t = from_folder(minis, "watched", picture_folder, on_existing="new version")
    assert host.value(t.graph, t.node[2]) == "watched.safetensors"
    assert host.value(t.graph, t.node[2]) == "watched.safetensors"
    Image.new("RGB", (80, 80), "red").save(base_directory / "input" / picture_folder / "new.png")
    assert host.value(t.graph, t.node[2]) == "watched-2.safetensors"


@pytest.mark.parametrize("folder", ["../models", "..", "/etc"])
def test_a_folder_outside_of_the_input_folder_is_refused(host, minis, folder):
    image_source = host.library("nodes.comfy_host.input_folder").image_source
    with pytest.raises(ValueError, match="outside ComfyUI's input folder"):
        image_source(None, folder, "Train Domain", say=str)
    t = from_folder(minis, "outside the folder", folder)
    with pytest.raises(PromptError):
        host.value(t.graph, t.node)


def test_neither_images_nor_a_folder_is_refused(host, minis):
    assert "neither images nor a folder" in refusal(host, Training(minis, save_name="nothing", images=None))


def test_of_images_and_a_folder_the_folder_is_taken_and_that_is_said(host, picture_folder, caplog):
    input_folder, told = host.library("nodes.comfy_host.input_folder"), []
    source = input_folder.image_source([torch.zeros(7, 8, 8, 3)], picture_folder, "Train Domain", say=told.append)
    alone = input_folder.image_source(None, picture_folder, "Train Domain", say=told.append)
    assert len(source) == len(alone) and source.stamp(0) == alone.stamp(0)
    assert told == [f"Train Domain uses the folder '{picture_folder}' and ignores the connected images."]
    assert told[0] in caplog.text


def test_an_empty_folder(host, minis, base_directory, tmp_path):
    (base_directory / "input" / tmp_path.name).mkdir()
    assert "holds no images" in refusal(host, from_folder(minis, "empty", tmp_path.name))


def test_a_single_image(host, minis):
    assert "1 of 1 images" in refusal(host, Training(minis, save_name="one", images=1))


def test_images_smaller_than_a_latent_cell(host, minis, base_directory, tmp_path):
    folder = base_directory / "input" / tmp_path.name
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (6, 6), (number, 0, 0)).save(folder / f"{number}.png")
    assert "smaller (6x6) than one latent cell" in refusal(host, from_folder(minis, "tiny", tmp_path.name))


def test_no_text_encoder_and_no_empty_prompt(host, minis):
    assert "empty_conditioning" in refusal(host, Training(minis, save_name="wordless", empty_conditioning=None))


def test_two_prompts_where_one_is_needed(host, minis):
    t = Training(minis, save_name="wordy")
    s = t.scene()
    t.graph[t.node.id]["inputs"]["empty_conditioning"] = t.graph.add(
        "ConditioningCombine", conditioning_1=s.positive, conditioning_2=s.negative
    )[0]
    assert "2 prompts" in refusal(host, t)


@pytest.mark.parametrize("form", ["adapter", "text-free"])
def test_a_model_that_carries_guidance_is_refused_because_the_training_would_not_see_it(host, minis, form):
    s = build(minis)
    t = Training(
        minis,
        save_name="guided",
        graph=s.graph,
        model=s.guide(s.model, s.model, domain_conditioning=s.prompt(EMPTY)),
        form=form,
    )
    assert "has domain guidance applied" in refusal(host, t)


@pytest.mark.parametrize("form", ["text-free", "empty-prompt"])
def test_narrow_weights_with_a_full_form_are_told_of_the_adapter(host, minis, form):
    s = build(minis)
    narrow = s.graph.add("UNETLoader", unet_name=minis.unet("sd15"), weight_dtype="fp8_e4m3fn")
    message = refusal(host, Training(minis, save_name="too narrow", graph=s.graph, model=narrow, form=form))
    assert "float8_e4m3fn" in message and "'adapter'" in message


@pytest.mark.parametrize(
    ("memory", "words", "fitting"),
    [
        (150e6, "switch 8-bit AdamW on, or train the adapter form", {"form": "adapter"}),
        (100e6, "the device has 95.37 MiB: train the adapter form", {"form": "adapter"}),
    ],
)
@pytest.mark.parametrize("form", ["text-free", "empty-prompt"])
def test_a_full_form_that_cannot_fit_names_the_form_that_does(
    host, minis, base_directory, monkeypatch, form, memory, words, fitting
):
    """Of 13.6 M parameters: four times 54 MB for the full forms, a little more than once for an adapter."""
    for place in ("nodes.comfy_host.training.forms", "domain_guidance.training.domain_run"):
        monkeypatch.setattr(host.library(place), "device_memory", lambda device: int(memory))
    t = Training(minis, save_name="too large", steps=1, evaluate_every=0, form=form)
    with monkeypatch.context() as patch:
        patch.setattr(
            host.library("nodes.comfy_host.training.train"),
            "_encoded",
            lambda *_: pytest.fail("images were encoded first"),
        )
        assert words in refusal(host, t) and not state_of(t, base_directory).exists()
    smaller = Training(minis, save_name=f"fits {form} {memory}", steps=1, evaluate_every=0, **fitting)
    host.value(smaller.graph, smaller.node)
    assert result_of(smaller, base_directory).exists()


def test_eight_bit_adam_without_its_package_is_refused_before_an_image_is_encoded(host, minis, monkeypatch):
    monkeypatch.setattr(host.library("domain_guidance.runs.optimizers"), "find_spec", lambda name: None)
    monkeypatch.setattr(
        host.library("nodes.comfy_host.training.train"), "_encoded", lambda *_: pytest.fail("images were encoded first")
    )
    assert "needs the package bitsandbytes" in refusal(
        host, Training(minis, save_name="eight bits", eight_bit_adam=True)
    )


@pytest.mark.parametrize("form", ["adapter", "text-free"])
def test_a_model_in_low_vram_mode_is_trained_as_a_whole_one_is_and_stays_as_it_was(host, minis, base_directory, form):
    """The host keeps such weights off the device and patches them at use; a LoRA is then not in the weights."""

    def with_lora(name):
        t = Training(minis, save_name=f"{name} {form}", steps=2, evaluate_every=1, form=form, learning_rate=1e-5)
        t.model = t.graph.add("LoraLoaderModelOnly", model=t.model, lora_name=minis.lora(), strength_model=0.5)
        t.graph[t.node.id]["inputs"]["model"] = t.model[0]
        return t

    whole, offloaded = with_lora("whole"), with_lora("offloaded")
    host.value(whole.graph, whole.node)
    model = host.value(offloaded.graph, offloaded.model)
    model.model.to("cpu")
    model.patch_model(torch.device("cpu"), lowvram_model_memory=1)
    assert model.model.model_lowvram and model.model.lowvram_patch_counter
    before = {name: tensor.clone() for name, tensor in model.model.diffusion_model.state_dict().items()}
    try:
        host.value(offloaded.graph, offloaded.node)
        after = model.model.diffusion_model.state_dict()
        assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
        assert held_out(offloaded, base_directory) == pytest.approx(held_out(whole, base_directory), rel=1e-4)
    finally:
        model.unpatch_model(torch.device("cpu"))


def test_a_network_to_be_trained_is_on_the_device_whole_also_where_the_host_leaves_all_weights_off_it(host, minis):
    """With --novram the host leaves them off even what is to be loaded in full."""
    s = build(minis)
    parts = host.library("nodes.comfy_host.training.trainable_copy")
    with torch.inference_mode(False):
        copy = parts.copy_of(host.value(s.graph, s.model))
        with small_card() as left_off:
            parts.load_whole([copy])
    assert left_off == [copy.model]
    assert not copy.model.model_lowvram and copy.loaded_size() == copy.model_size()


def test_a_loader_that_cannot_read_its_file_twice(host, minis):
    s = build(minis)
    model = host.value(s.graph, s.model).clone()
    model.cached_patcher_init = None
    with pytest.raises(ValueError, match="second time") as caught:
        host.library("nodes.comfy_host.training.forms").check_trainable(model, "adapter")
    assert_one_sentence(str(caught.value))


def test_text_free_training_of_a_network_without_cross_attention(host, minis):
    assert "no cross-attention" in refusal(host, Training(minis, "sd3", save_name="joint", form="text-free"))


def test_resuming_with_other_settings_names_the_difference(host, minis, base_directory):
    t = Training(minis, save_name="changed", steps=1, evaluate_every=0)
    host.value(t.graph, t.node)
    before = state_of(t, base_directory).read_bytes()
    message = refusal(host, Training(minis, save_name="changed", steps=2, evaluate_every=0, rank=8, learning_rate=5e-4))
    assert "rank was 4 and is 8" in message and "learning_rate was 0.001 and is 0.0005" in message
    assert state_of(t, base_directory).read_bytes() == before


@pytest.mark.parametrize("name", ["../escape", "sub/name", "", ".hidden", "style: anime", "CON"])
def test_a_save_name_that_is_no_plain_name(host, minis, base_directory, name):
    assert "name of a file" in refusal(host, Training(minis, save_name=name))
    assert not (base_directory / "output" / "escape.safetensors").exists()


def test_a_folder_that_cannot_be_written(host, minis, base_directory):
    """A file stands where the run's folder should be."""
    t = Training(minis, save_name="blocked", steps=1)
    state_of(t, base_directory).parent.write_text("in the way")
    assert "cannot be written" in refusal(host, t)


def test_a_full_disk_while_the_result_is_written(host, minis, base_directory):
    from safetensors import SafetensorError

    t = Training(minis, save_name="full", steps=2, evaluate_every=0)
    writer = host.library("domain_guidance.files.atomic_file")
    original = writer.save_file

    def save_file(tensors, path, *args, **kwargs):
        if os.path.basename(path).startswith(".full.safetensors."):
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        return original(tensors, path, *args, **kwargs)

    with patch.object(writer, "save_file", save_file):
        message = refusal(host, t)
    assert (
        "No space left" in message
        and state_of(t, base_directory).exists()
        and not result_of(t, base_directory).exists()
    )
    host.value(t.graph, t.node)
    assert result_of(t, base_directory).exists()


def test_the_conditioning_wins_over_the_text_encoder(host, minis):
    """So that an encoder which is connected for other nodes is not loaded for one sentence of nothing."""
    s = build(minis)
    prompt = host.value(s.graph, s.prompt(EMPTY))
    kept = host.library("nodes.comfy_host.domains.empty_prompt").empty_prompt(object(), prompt)
    assert torch.equal(kept[0][0], prompt[0][0]) and not kept[0][0].is_inference()
