"""Diffusers folders as people have them: variants, and what is broken in them, said in one sentence."""

import json
import shutil
from pathlib import Path

import mini_pipeline
import pytest
import torch
from safetensors.torch import load_file, save_file

from domain_guidance.__main__ import main
from domain_guidance.diffusers_host.critic import PosteriorMode
from domain_guidance.diffusers_host.folder import DiffusersFolder, decoded, encoder_of
from domain_guidance.diffusers_host.reading import reading, variant_of

PARTS = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return mini_pipeline.write_pipeline(tmp_path_factory.mktemp("folder") / "sd")


@pytest.fixture
def folder(pipeline, tmp_path):
    return Path(shutil.copytree(pipeline, tmp_path / "sd"))


def weights_of(folder, part):
    (path,) = (folder / part).glob("*.safetensors")
    return path


def rename(path, variant):
    return path.rename(path.with_name(path.name.replace(".safetensors", f".{variant}.safetensors")))


def read_all(folder):
    place = DiffusersFolder(str(folder))
    return place.unet().state_dict(), place.vae().state_dict(), place.prompt("a plate").cross_attn, place.schedule()


def test_a_folder_that_holds_only_fp16_variants_is_read_in_fp32(folder, pipeline):
    for part in PARTS:
        path = rename(weights_of(folder, part), "fp16")
        save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    unet, vae, prompt, _ = read_all(folder)
    plain_unet, plain_vae, plain_prompt, _ = read_all(pipeline)
    for ours, theirs in ((unet, plain_unet), (vae, plain_vae)):
        assert all(tensor.dtype == torch.float32 for tensor in ours.values())
        assert all(tensor.equal(theirs[name].half().float()) for name, tensor in ours.items())
    torch.testing.assert_close(prompt, plain_prompt, atol=1e-2, rtol=1e-2)


def test_the_plain_weights_win_over_a_variant_and_fp16_over_an_unknown_one(folder):
    path = weights_of(folder, "unet")
    shutil.copy(path, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert variant_of(folder / "unet") is None
    shutil.copy(path, path.with_name("diffusion_pytorch_model.ema.safetensors"))
    path.unlink()
    assert variant_of(folder / "unet") == "fp16"


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.fp16-00001-of-00002.safetensors", "model.fp16.bin"])
def test_the_variant_of_weights_in_parts_and_of_older_files_is_found(tmp_path, name):
    (tmp_path / name).touch()
    assert variant_of(tmp_path) == "fp16"


def without_a_weight(path):
    tensors = load_file(path)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, path, {"format": "pt"})


def of_another_shape(path):
    tensors = load_file(path)
    save_file(tensors | {sorted(tensors)[0]: torch.zeros(3, 3)}, path, {"format": "pt"})


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "damage", [Path.unlink, cut, without_a_weight, of_another_shape], ids=["missing", "cut", "lacking", "other shape"]
)
def test_damaged_weights_are_one_sentence_that_names_their_part(folder, part, damage):
    damage(weights_of(folder, part))
    with pytest.raises(ValueError, match=rf"^The {part} of '.*' cannot be read \(.*\): give the whole folder") as said:
        read_all(folder)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("text", [None, "{", "[]", "{}"], ids=["missing", "cut", "a list", "empty"])
def test_a_damaged_configuration_is_one_sentence_that_names_its_part(folder, part, text):
    path = folder / part / "config.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=f"^The {part} of '.*' cannot be read"):
        read_all(folder)


@pytest.mark.parametrize(
    ("path", "text", "part"),
    [
        ("model_index.json", "{", "model_index.json"),
        ("scheduler/scheduler_config.json", "{}", "scheduler"),
        ("tokenizer", None, "tokenizer"),
        ("scheduler", None, "scheduler"),
    ],
)
def test_whatever_else_is_damaged_is_named_too(folder, path, text, part):
    (folder / path).write_text(text) if text else shutil.rmtree(folder / path)
    with pytest.raises(ValueError, match=f"^The {part} of '.*' cannot be read"):
        read_all(folder)


def test_the_command_line_says_the_sentence_and_ends_with_1(folder, tmp_path, caplog):
    weights_of(folder, "unet").unlink()
    mini_pipeline.write_images(tmp_path / "images")
    words = {"base": folder, "images": tmp_path / "images", "out": tmp_path / "out", "resolution": 16, "steps": 1}
    arguments = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    assert main(["train", *arguments]) == 1
    assert "Stopped: The unet of " in caplog.text and "Traceback" not in caplog.text


def test_errors_of_the_device_are_not_taken_for_the_files():
    with pytest.raises(RuntimeError, match="out of memory"), reading("unet", "sd"):
        raise RuntimeError("CUDA out of memory")
    with pytest.raises(PermissionError), reading("unet", "sd"):
        raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("limit", [None, 4])
def test_a_tokenizer_that_knows_of_no_end_stops_where_its_encoder_does(folder, pipeline, limit):
    path = folder / "tokenizer" / "tokenizer_config.json"
    values = json.loads(path.read_text())
    del values["model_max_length"]
    path.write_text(json.dumps(values | ({"model_max_length": limit} if limit else {})))
    (found,), (whole,) = (DiffusersFolder(str(place)).prompt("a plate").cross_attn for place in (folder, pipeline))
    assert torch.equal(found, whole[: limit or 5])


@pytest.fixture
def tiny(folder):
    """The same pipeline with TAESD's kind of autoencoder, which has no posterior."""
    from diffusers import AutoencoderTiny

    shutil.rmtree(folder / "vae")
    torch.manual_seed(1)
    AutoencoderTiny(
        latent_channels=4,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        scaling_factor=0.5,
    ).save_pretrained(folder / "vae")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"vae": ["diffusers", "AutoencoderTiny"]}))
    return folder


def test_a_tiny_autoencoder_encodes_and_decodes_as_diffusers_own_does(tiny):
    from diffusers import AutoencoderTiny

    place, theirs = DiffusersFolder(str(tiny)), AutoencoderTiny.from_pretrained(tiny, subfolder="vae")
    ours, pixels = place.vae(), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = theirs.encode(pixels).latents
        mean, log_variance = encoder_of(ours, torch.device("cpu"))(pixels)
        assert mean.equal(expected) and log_variance is None
        assert PosteriorMode(ours, torch.float32)(pixels).equal(expected)
        assert decoded(ours, 0.5 * expected).equal(theirs.decode(expected).sample)
    assert place.latent_cell == 2


def test_a_domain_is_trained_and_drawn_on_a_base_with_a_tiny_autoencoder(tiny, tmp_path):
    images = mini_pipeline.write_images(tmp_path / "images")
    words = ["--base", str(tiny), "--images", str(images), "--out", str(tmp_path), "--name", "d", "--resolution", "16"]
    assert main(["train", *words, "--steps", "2", "--batch-size", "2"]) == 0
    assert (tmp_path / "d.safetensors").exists()
