"""`python -m domain_guidance train | sample`, on a diffusers folder a few thousand parameters large and real images."""

import argparse
import importlib.util
import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mini_pipeline
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from domain_guidance.__main__ import COMMANDS, main
from domain_guidance.commands.command import parse
from domain_guidance.commands.options import run_settings
from domain_guidance.commands.presets import PRESETS
from domain_guidance.commands.processes import start_process
from domain_guidance.commands.train import TRAIN, encoded_at_once
from domain_guidance.diffusers_host.folder import DiffusersFolder
from domain_guidance.domains.adapter_file import read_adapter_file
from domain_guidance.domains.domain_file import read_card, read_domain_file
from domain_guidance.runs import RunFiles, ema_decay
from domain_guidance.runs.run_log import read_log

ROOT = Path(__file__).parents[2]
ELSEWHERE = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a base (`sd`, `xl`) and images."""
    folder = tmp_path_factory.mktemp("command line")
    mini_pipeline.write_pipeline(folder / "sd")
    mini_pipeline.write_pipeline(folder / "xl", sdxl=True)
    mini_pipeline.write_images(folder / "images")
    return folder


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def arguments(place, out, base="sd", **changed):
    values = {
        "base": place / base,
        "images": place / "images",
        "out": out,
        "cache": place / "latents",
        "form": "text-free",
        "steps": 6,
        "resolution": 16,
        "buckets": "shorter-side",
        "learning-rate": 1e-3,
        "evaluate-every": 3,
        "checkpoint-every": 3,
        **changed,
    }
    return ["train", *(word for name, value in values.items() for word in (f"--{name}", str(value)))]


def held_out(out, name="domain"):
    return [line["held_out"] for line in read_log(RunFiles(out, name).log) if line["event"] == "evaluated"]


def options_of(*words):
    words = ("train", "--base", "b", "--images", "i", "--out", "o", "--steps", "100", *words)
    return parse("program", "", [TRAIN], words)[1]


# --- all commands ----------------------------------------------------------------------------------------------------


def test_help_describes_every_command_in_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    for command in COMMANDS:
        (line,) = [line for line in lines if line.split()[:1] == [command.name]]
        assert line.endswith(command.summary) and len(line) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_after_a_command_lists_its_options(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command.name, "--help"])
    printed = capsys.readouterr().out
    own = argparse.ArgumentParser()
    command.add_options(own)
    words = [option for action in own._actions for option in action.option_strings]
    assert ended.value.code == 0 and len(words) >= 2
    assert all(word in printed for word in words)
    assert command.summary[1:] in " ".join(printed.split())


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_a_name_that_the_console_has_no_letters_for_is_still_said(encoding):
    name = "\u03bb.safetensors" if encoding == "cp1252" else os.fsdecode(b"\xfc.safetensors")
    words = [sys.executable, "-m", "domain_guidance", "info", name]
    environment = {**ELSEWHERE, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False, env=environment)
    told = done.stdout.decode(encoding)
    assert "Stopped: There is no domain file '" + name.encode(encoding, "backslashreplace").decode(encoding) in told
    assert done.returncode == 1 and b"Logging error" not in done.stderr


def test_an_output_that_is_no_console_is_left_as_it_is(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["info", "none.safetensors"]) == 1


def test_an_unknown_command_is_answered_with_the_names_of_all(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["trian"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(command.name in said for command in COMMANDS)


@pytest.mark.parametrize("command, name", [(command, name) for command in COMMANDS for name in command.presets])
def test_a_preset_sets_options_that_its_command_has_to_values_that_they_take(command, name):
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    actions = {action.dest: action for action in parser._actions}
    for option, value in command.presets[name].items():
        assert option in actions
        assert actions[option].choices is None or value in actions[option].choices


# --- train -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["adapter", "text-free", "empty-prompt"])
def test_training_on_a_folder_of_images_lowers_the_held_out_loss_and_writes_the_file(place, tmp_path, form, said):
    if form == "adapter":
        pytest.importorskip("peft")
    assert main(arguments(place, tmp_path, form=form, steps=12)) == 0
    losses = held_out(tmp_path)
    assert losses[-1] < losses[0] - (0.001 if form == "adapter" else 0.1)
    card = read_card(tmp_path / "domain.safetensors")
    assert card.training["form"] == form and card.base_name == "sd" and card.training["trained_steps"] == 12
    assert card.training["held_out_loss"] == losses[-1]
    assert Image.open(RunFiles(tmp_path, "domain").curve).size == (640, 480)
    assert "24 images used" in said.text and "4 of 24 images are held out" in said.text


@pytest.mark.parametrize("form", ["adapter", "text-free"])
def test_sdxl_is_trained_with_its_pooled_vector_and_its_sizes(place, tmp_path, form):
    if form == "adapter":
        pytest.importorskip("peft")
    assert main(arguments(place, tmp_path, base="xl", form=form)) == 0
    read = read_adapter_file if form == "adapter" else read_domain_file
    assert read(tmp_path / "domain.safetensors").pooled_output.shape == (1, 16)
    assert held_out(tmp_path)[-1] < held_out(tmp_path)[0]


def test_the_same_command_resumes_more_steps_extend_and_other_settings_are_named(place, tmp_path, said):
    main(arguments(place, tmp_path / "whole", steps=9))
    main(arguments(place, tmp_path / "parts", steps=4))
    main(arguments(place, tmp_path / "parts", steps=9))
    one, other = (load_file(RunFiles(tmp_path / kind, "domain").state) for kind in ("whole", "parts"))
    assert all(one[name].equal(other[name]) for name in one)
    assert main(arguments(place, tmp_path / "parts", steps=9, seed=3)) == 1
    assert "Stopped: There is a saved run 'domain', which cannot be resumed: seed was 0 and is 3" in said.text
    assert main([*arguments(place, tmp_path / "parts", steps=2, seed=3), "--on-existing", "new version"]) == 0
    assert (tmp_path / "parts" / "domain-2.safetensors").exists()


def test_a_second_run_finds_its_latents_and_encodes_nothing(place, tmp_path, said, monkeypatch):
    main(arguments(place, tmp_path, steps=1))
    monkeypatch.setattr(
        "domain_guidance.commands.train.encoder_of", lambda *_: lambda pixels: pytest.fail("encoded again")
    )
    assert main(arguments(place, tmp_path, steps=2)) == 0


def test_previews_begin_with_the_untrained_model(place, tmp_path):
    main([*arguments(place, tmp_path), "--sample-every", "3"])
    names = sorted(path.name for path in RunFiles(tmp_path, "domain").run_folder.glob("sample-*.png"))
    assert names == ["sample-000000.png", "sample-000003.png", "sample-000006.png"]
    assert Image.open(RunFiles(tmp_path, "domain").run_folder / names[0]).size == (4 * 16, 16)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_an_adapter_on_a_base_of_half_the_width_trains_and_previews(place, tmp_path, precision):
    pytest.importorskip("peft")
    words = arguments(place, tmp_path, form="adapter", precision=precision, steps=12)
    assert main([*words, "--sample-every", "6", "--gradient-checkpointing"]) == 0
    assert held_out(tmp_path)[-1] < held_out(tmp_path)[0]
    assert len(list(RunFiles(tmp_path, "domain").run_folder.glob("sample-*.png"))) == 3


def test_a_broken_image_is_named_and_left_out(place, tmp_path, said):
    shutil.copytree(place / "images", tmp_path / "images")
    (tmp_path / "images" / "torn.png").write_bytes((place / "images" / "000.png").read_bytes()[:100])
    assert main(arguments(place, tmp_path / "out", images=tmp_path / "images", steps=1)) == 0
    assert "'torn.png' is left out, because" in said.text and "1 skipped" in said.text


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"base": "nowhere"}, "nowhere' is not a diffusers folder.*--allow-download"),
        ({"images": "nowhere"}, "There is no image folder '.*nowhere'"),
        (
            {"batch-size": 4, "micro-batch": 3},
            "A batch of 4 images cannot be divided over 1 processes in micro-batches of 3.*multiple of 3",
        ),
        ({"micro-batch": 0}, "--micro-batch is 0, expected at least 1, or leave it out"),
        ({"rank": 4}, "A --rank was given, which the form text-free does not have: leave it out"),
        ({"steps": 0}, "number of steps is 0"),
        ({"name": "../up"}, "'../up' cannot be the name of a file"),
    ],
)
def test_what_cannot_work_ends_in_one_sentence_and_exit_status_1(place, tmp_path, said, changed, message):
    assert main(arguments(place, tmp_path, **changed)) == 1
    assert re.search(f"Stopped: .*{message}", said.text)


def test_a_latent_base_without_its_vae_is_not_taken_for_one_of_pixels(place, tmp_path, said):
    shutil.copytree(place / "sd", tmp_path / "sd")
    index = tmp_path / "sd" / "model_index.json"
    index.write_text(json.dumps({name: part for name, part in json.loads(index.read_text()).items() if name != "vae"}))
    assert main(arguments(place, tmp_path / "out", base=tmp_path / "sd")) == 1
    assert re.search(
        "Stopped: '.*sd' names no vae in its model_index.json, and its UNet takes 4 channels, not the 3 of "
        "pixels: add the vae",
        said.text,
    )


@pytest.mark.parametrize("inside", [".", "runs", "runs/../new"])
def test_a_run_inside_its_own_images_is_refused_before_anything_is_made(place, tmp_path, said, inside):
    images = Path(shutil.copytree(place / "images", tmp_path / "images"))
    before = sorted(images.rglob("*"))
    assert main(arguments(place, images / inside, images=images)) == 1
    assert "which is in --images" in said.text and "name a folder outside" in said.text
    assert sorted(images.rglob("*")) == before


def test_a_run_beside_its_images_is_not_taken_for_one_inside_them(place, tmp_path):
    images = shutil.copytree(place / "images", tmp_path / "images")
    assert main(arguments(place, tmp_path / "images of runs", images=images, steps=1)) == 0
    assert main(arguments(place, tmp_path, images=images, steps=1)) == 0


def with_unet(place, folder, **changed):
    """The base `sd` with another UNet."""
    from diffusers import UNet2DConditionModel

    shutil.copytree(place / "sd", folder)
    UNet2DConditionModel(**{**mini_pipeline.UNET, **changed}).save_pretrained(folder / "unet")
    return folder


@pytest.mark.parametrize(
    "changed, said_of_it",
    [
        ({"in_channels": 9}, "takes 9 channels and gives 4, but its latents have 4"),
        ({"out_channels": 8}, "takes 4 channels and gives 8, but its latents have 4"),
    ],
)
def test_a_unet_that_reads_or_gives_more_than_a_latent_is_refused_before_anything_is_encoded(
    place, tmp_path, said, encodes_nothing, changed, said_of_it
):
    base = with_unet(place, tmp_path / "inpainting", **changed)
    assert main(arguments(place, tmp_path / "out", base=base)) == 1
    assert said_of_it in said.text and "not one for inpainting or editing" in said.text
    words = ["sample", "--base", base, "--domain", tmp_path / "any.safetensors", "--out", tmp_path / "drawn"]
    assert main([*map(str, words)]) == 1


def test_one_image_is_too_few(place, tmp_path, said):
    (tmp_path / "images").mkdir()
    shutil.copy(place / "images" / "000.png", tmp_path / "images")
    assert main(arguments(place, tmp_path, images=tmp_path / "images")) == 1
    assert "Stopped: 1 of 1 images can be used and training needs at least 2" in said.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_clusters_term_save_the_state_and_say_where(place, tmp_path, number):
    command = [
        sys.executable,
        "-m",
        "domain_guidance",
        *arguments(place, tmp_path, steps=100000, **{"checkpoint-every": 0}),
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ELSEWHERE
    )
    log = RunFiles(tmp_path, "domain").log
    while process.poll() is None and sum(line["event"] == "step" for line in read_log(log)) < 3:
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    made = [line["step"] for line in read_log(log) if line["event"] == "step"]
    saved = int(load_file(RunFiles(tmp_path, "domain").state)["optimizer.step.conv_in.weight"])
    assert saved == made[-1] >= 3
    assert "Stopped by the user; the same command resumes from what is saved" in output and "Traceback" not in output


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed")
def test_two_processes_under_accelerate_launch_write_the_file_of_one(place, tmp_path):
    main(arguments(place, tmp_path / "one"))
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_machines",
        "1",
        "--num_processes",
        "2",
    ]
    command = [*launch, "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "domain_guidance"]
    words = arguments(place, tmp_path / "two", cache=tmp_path / "latents")
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, check=False, env=ELSEWHERE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "images encoded: 12 of 12" in done.stdout, "each process encodes its share"
    one, two = (read_domain_file(tmp_path / kind / "domain.safetensors") for kind in ("one", "two"))
    assert all((one.weights[name] - two.weights[name]).abs().max() < 2e-3 for name in one.weights)
    assert held_out(tmp_path / "two") == pytest.approx(held_out(tmp_path / "one"), rel=1e-4)


# --- options ---------------------------------------------------------------------------------------------------------


def test_the_preset_has_every_value_of_the_papers_training():
    """Written out from what is known of arXiv 2312.08195; an adapter's rank and the like have no value there."""
    released = {
        "form": "text-free",  # a copy of the base UNet with constants for cross-attention
        "resolution": 512,  # shorter side to 512
        "buckets": "shorter-side",  # without crop
        "mirror": 0.5,  # horizontal flip 0.5
        "eight_bit_adam": True,  # AdamW, 8 bit in the release
        "learning_rate": 1e-5,
        "schedule": "constant",
        "warmup": 0,
        "weight_decay": 1e-2,
        "max_gradient_norm": 1.0,
        "batch_size": 32,
        "precision": "fp16",
        "min_snr": 0.0,  # plain noise MSE
        "time_sampling": "uniform",  # t uniform
    }
    assert PRESETS["in-domain-2025"] == released
    resolved = vars(options_of("--preset", "in-domain-2025"))
    assert {name: resolved[name] for name in released} == released
    assert ema_decay(100) == min(0.9999, 1 - (1 + 100) ** (-2 / 3))
    settings = run_settings(options_of("--preset", "in-domain-2025"), world=4)
    assert (settings.batch_size, settings.accumulation, settings.cosine) == (8, 1, False)


def test_what_is_typed_wins_over_the_preset_and_the_preset_over_the_defaults():
    assert options_of("--preset", "in-domain-2025", "--batch-size", "8", "--no-eight-bit-adam").batch_size == 8
    assert not options_of("--preset", "in-domain-2025", "--no-eight-bit-adam").eight_bit_adam
    assert options_of().form == "adapter" and options_of().learning_rate == 1e-4
    assert options_of("--form", "text-free").learning_rate == 1e-5


def test_a_dry_run_prints_the_resolved_options_as_json_and_touches_nothing(tmp_path):
    words = [
        "train",
        "--base",
        "b",
        "--images",
        "i",
        "--out",
        str(tmp_path / "o"),
        "--steps",
        "9",
        "--preset",
        "in-domain-2025",
        "--dry-run",
    ]
    code = (
        f"import sys; from domain_guidance.__main__ import main; main({words!r}); assert 'diffusers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout)
    assert printed["steps"] == 9 and PRESETS["in-domain-2025"].items() <= printed.items()
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "batch, micro, world, expected",
    [(32, None, 1, (32, 1)), (32, None, 4, (8, 1)), (32, 2, 4, (2, 4)), (4, 1, 1, (1, 4))],
)
def test_a_batch_is_divided_over_processes_and_micro_batches(batch, micro, world, expected):
    words = ["--batch-size", str(batch), *(["--micro-batch", str(micro)] if micro else [])]
    settings = run_settings(options_of(*words), world)
    assert (settings.batch_size, settings.accumulation) == expected


@pytest.mark.parametrize("base", ["sd", "xl"])
def test_a_base_whose_text_encoders_are_stored_in_half_trains_as_one_in_full(place, tmp_path, base):
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    shutil.copytree(place / base, tmp_path / base)
    for name, kind in {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}.items():
        if (place / base / name).exists():
            kind.from_pretrained(place / base / name).half().save_pretrained(tmp_path / base / name)
    assert main(arguments(place, tmp_path / "half", base=tmp_path / base)) == 0
    assert main(arguments(place, tmp_path / "full", base=base)) == 0
    assert held_out(tmp_path / "half") == pytest.approx(held_out(tmp_path / "full"), rel=1e-2)


@pytest.fixture
def decoded(monkeypatch):
    """What the VAE was given to decode: the latents' types, and whether autocast was on."""
    from diffusers import AutoencoderKL

    seen, decode = [], AutoencoderKL.decode

    def watching(self, latent, **options):
        seen.append((latent.dtype, torch.is_autocast_enabled(latent.device.type)))
        return decode(self, latent, **options)

    monkeypatch.setattr(AutoencoderKL, "decode", watching)
    return seen


def test_pictures_are_decoded_in_fp32_whatever_the_precision_because_some_vaes_overflow(place, tmp_path, decoded):
    words = arguments(place, tmp_path, precision="bf16", steps=2)
    assert main([*words, "--sample-every", "2"]) == 0
    drawn = len(decoded)
    assert (
        main(
            [
                "sample",
                "--base",
                str(place / "sd"),
                "--domain",
                str(tmp_path / "domain.safetensors"),
                "--out",
                str(tmp_path / "drawn"),
                "--count",
                "1",
                "--steps",
                "2",
                "--width",
                "16",
                "--height",
                "16",
                "--precision",
                "bf16",
            ]
        )
        == 0
    )
    assert 0 < drawn < len(decoded) and set(decoded) == {(torch.float32, False)}


@pytest.mark.parametrize("resolution", [16, 64, 512, 768, 1024, 2048])
def test_no_more_pixels_are_encoded_at_once_than_four_pictures_of_512_have(resolution):
    count = encoded_at_once(resolution)
    assert count >= 1 and (count == 1 or count * resolution**2 <= 4 * 512**2)
    assert (count + 1) * resolution**2 > 4 * 512**2


@pytest.fixture
def encodes_nothing(monkeypatch):
    monkeypatch.setattr(
        "domain_guidance.commands.train.encoder_of", lambda *_: lambda pixels: pytest.fail("an image was encoded")
    )


@pytest.mark.parametrize("cuda, bf16, precision", [(False, False, "fp32"), (True, True, "bf16"), (True, False, "fp16")])
def test_the_arithmetic_is_the_narrowest_that_the_device_has_itself(monkeypatch, cuda, bf16, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)
    assert options_of().precision == precision
    assert options_of("--precision", "fp32").precision == "fp32"


def test_eight_bit_adam_without_bitsandbytes_says_what_to_do_before_anything_is_encoded(
    place, tmp_path, said, monkeypatch, encodes_nothing
):
    monkeypatch.setattr("domain_guidance.runs.optimizers.find_spec", lambda name: None)
    assert main([*arguments(place, tmp_path), "--eight-bit-adam"]) == 1
    assert "needs the package bitsandbytes, which is not installed: install it, or leave the option off" in said.text


def changed_json(file, **changed):
    values = json.loads(file.read_text()) | changed
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def with_zero_snr(base):
    changed_json(base / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)


def with_linear_levels(base):
    changed_json(base / "scheduler" / "scheduler_config.json", beta_schedule="linear")


def with_flow(base):
    scheduler = base / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}))


def without_text_encoder(base):
    changed_json(base / "model_index.json", text_encoder=None)


def with_unknown_layers(base):
    from diffusers import UNet2DConditionModel

    shutil.rmtree(base / "unet")
    UNet2DConditionModel(**mini_pipeline.UNET, class_embed_type="timestep").save_pretrained(base / "unet")


@pytest.mark.parametrize(
    "change, message",
    [
        (with_zero_snr, "zero terminal SNR"),
        (with_linear_levels, "noise schedule is 'linear', expected scaled_linear"),
        (with_flow, "scheduler of .* cannot be read"),
        (without_text_encoder, "has no text encoder"),
        (with_unknown_layers, "'class_embedding.* has no place .* give a base of the Stable Diffusion family"),
    ],
)
@pytest.mark.parametrize("form", ["text-free", "side-network"])
def test_a_base_that_cannot_be_trained_is_refused_before_anything_is_encoded(
    place, tmp_path, said, encodes_nothing, change, message, form
):
    base = Path(shutil.copytree(place / "sd", tmp_path / "sd"))
    change(base)
    assert main(arguments(place, tmp_path / "out", base=base, cache=tmp_path / "latents", form=form)) == 1
    assert re.search(f"Stopped: .*{message}", said.text)


def test_gradient_checkpointing_is_refused_beside_a_side_network_which_has_none(place, tmp_path, said):
    words = [*arguments(place, tmp_path, form="side-network"), "--gradient-checkpointing"]
    assert main(words) == 1
    assert "no gradient passes the base of a side network, so it would save nothing: leave it out" in said.text


def test_a_world_size_that_is_set_to_nothing_is_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "")
    process, _ = start_process("fp32")
    assert process.world == 1


def test_the_rank_has_a_default_for_an_adapter_alone():
    assert options_of().rank == 16 and options_of("--form", "text-free").rank is None


@pytest.mark.parametrize("rank", [0, -1])
def test_an_adapter_without_a_rank_is_refused_before_anything_is_encoded(place, tmp_path, said, encodes_nothing, rank):
    pytest.importorskip("peft")
    assert main(arguments(place, tmp_path, form="adapter", rank=rank, cache=tmp_path / "latents")) == 1
    assert f"--rank is {rank}, expected at least 1." in said.text


def test_an_adapter_without_peft_is_refused_before_anything_is_encoded(
    place, tmp_path, said, monkeypatch, encodes_nothing
):
    monkeypatch.setattr("domain_guidance.diffusers_host.trainable.find_spec", lambda name: None)
    assert main(arguments(place, tmp_path, form="adapter", cache=tmp_path / "latents")) == 1
    assert "needs the package peft, which is not installed: install it, or train a full form" in said.text


# PyTorch's own, and the driver's, which is one of all kinds of a device's errors.
DriverError = getattr(torch, "AcceleratorError", RuntimeError)
OUT_OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory."),
    DriverError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["PyTorch's", "the driver's"])
def test_a_device_that_runs_out_of_memory_ends_the_command_with_what_takes_less(
    place, tmp_path, said, monkeypatch, error
):
    def full(*_):
        raise error

    monkeypatch.setattr("domain_guidance.commands.train.encoder_of", full)
    assert main(arguments(place, tmp_path)) == 1
    assert "out of memory. Lower --micro-batch" in said.text and "TORCH_USE" not in said.text


def test_the_computers_own_memory_that_runs_out_is_known_as_such(place, tmp_path, said, monkeypatch):
    def of_torch(*_):
        return torch.empty(2**58)

    def of_python(*_):
        raise MemoryError

    for full in (of_torch, of_python):
        said.clear()
        monkeypatch.setattr("domain_guidance.commands.train.encoder_of", full)
        assert main(arguments(place, tmp_path)) == 1
        assert "Stopped: The computer is out of memory. Lower --micro-batch" in said.text


def test_an_error_of_another_kind_is_no_want_of_memory(place, tmp_path, monkeypatch):
    def broken(*_):
        raise DriverError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("domain_guidance.commands.train.encoder_of", broken)
    with pytest.raises(DriverError, match="illegal memory access"):
        main(arguments(place, tmp_path))


@pytest.mark.parametrize("form", ["text-free", "empty-prompt"])
def test_a_network_too_large_for_the_device_is_refused_before_anything_is_encoded(
    place, tmp_path, said, monkeypatch, encodes_nothing, form
):
    monkeypatch.setattr("domain_guidance.commands.train.device_memory", lambda device: 2**20)
    assert main(arguments(place, tmp_path, form=form)) == 1
    assert "the device has 1.00 MiB: train the adapter form" in said.text


def test_an_adapter_of_a_network_too_large_to_be_trained_itself_is_not_refused(place, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.setattr("domain_guidance.commands.train.device_memory", lambda device: 2**20)
    assert main(arguments(place, tmp_path, form="adapter", steps=1)) == 0


# --- sample ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(place):
    files = {}
    for base, form in (
        ("sd", "text-free"),
        ("sd", "empty-prompt"),
        ("xl", "text-free"),
        *((("sd", "adapter"),) if importlib.util.find_spec("peft") else ()),
    ):
        out = place / f"{base} {form}"
        assert main(arguments(place, out, base=base, form=form)) == 0
        files[base, form] = out / "domain.safetensors"
    return files


def drawn(place, domain, out, *words, base="sd"):
    assert (
        main(
            [
                "sample",
                "--base",
                str(place / base),
                "--domain",
                str(domain),
                "--out",
                str(out),
                "--width",
                "16",
                "--height",
                "24",
                "--steps",
                "3",
                *words,
            ]
        )
        == 0
    )
    return pixels(out)


def pixels(out):
    return {path.name: Image.open(path).tobytes() for path in out.iterdir()}


def test_every_form_is_drawn_from_with_and_without_a_prompt(place, trained, tmp_path):
    for number, ((base, _), file) in enumerate(trained.items()):
        free = drawn(place, file, tmp_path / f"{number} free", "--count", "1", base=base)
        asked = drawn(place, file, tmp_path / f"{number} asked", "--count", "1", "--prompt", "a plate", base=base)
        assert free.keys() == asked.keys() == {"000000.png"}
        assert free != asked
        assert Image.open(tmp_path / f"{number} free" / "000000.png").size == (16, 24)


def test_picture_i_depends_on_seed_plus_i_alone(place, trained, tmp_path):
    file = trained["sd", "text-free"]
    three = drawn(place, file, tmp_path / "three", "--count", "3", "--seed", "5")
    one = drawn(place, file, tmp_path / "one", "--count", "1", "--seed", "6")
    assert sorted(three) == ["000005.png", "000006.png", "000007.png"] and len(set(three.values())) == 3
    assert three["000006.png"] == one["000006.png"]


def test_the_domain_weight_matters_and_zero_is_the_base(place, trained, tmp_path):
    by_weight = {
        (form, weight): drawn(
            place, trained["sd", form], tmp_path / f"{form} {weight}", "--count", "1", "--weight", weight
        )
        for form in ("text-free", "empty-prompt")
        for weight in ("0", "2")
    }
    assert by_weight["text-free", "0"] == by_weight["empty-prompt", "0"]
    assert by_weight["text-free", "2"] != by_weight["text-free", "0"]


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed")
def test_two_processes_draw_the_pictures_of_one(place, trained, tmp_path):
    file = trained["sd", "text-free"]
    one = drawn(place, file, tmp_path / "one", "--count", "3")
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_machines",
        "1",
        "--num_processes",
        "2",
    ]
    words = [
        "sample",
        "--base",
        place / "sd",
        "--domain",
        file,
        "--out",
        tmp_path / "two",
        "--width",
        "16",
        "--height",
        "24",
        "--steps",
        "3",
        "--count",
        "3",
    ]
    command = [*launch, "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "domain_guidance", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=ELSEWHERE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert pixels(tmp_path / "two") == one


@pytest.mark.parametrize(
    "words, said_of_it",
    [
        (("--width", "17"), "--width is 17 pixels: make it a multiple of 2, and at least 2"),
        (("--width", "0"), "--width is 0 pixels: make it a multiple of 2, and at least 2"),
        (("--height", "1"), "--height is 1 pixels: make it a multiple of 2"),
        (("--height", "-8"), "--height is -8 pixels: make it a multiple of 2"),
        (("--steps", "0"), "--steps is 0, expected at least 1"),
        (("--count", "0"), "--count is 0, expected at least 1"),
        (("--seed", "-1"), "--seed is -1 and --count 4, but the seeds of pictures go from 0 to"),
        (("--seed", str(2**64 - 2)), "the seeds of pictures go from 0 to 18446744073709551615: choose others"),
    ],
)
def test_sizes_and_counts_that_cannot_be_had_are_refused_before_the_base_is_read(
    place, tmp_path, said, monkeypatch, words, said_of_it
):
    monkeypatch.setattr(DiffusersFolder, "unet", lambda *_: pytest.fail("the base was read"))
    asked = ["sample", "--base", place / "sd", "--domain", tmp_path / "any.safetensors", "--out", tmp_path / "drawn"]
    assert main([*map(str, asked), *words]) == 1
    assert said_of_it in said.text and not (tmp_path / "drawn").exists()


def test_the_same_command_keeps_its_pictures_and_draws_those_that_are_missing(place, trained, tmp_path, said):
    file, out = trained["sd", "text-free"], tmp_path / "drawn"
    first = drawn(place, file, out, "--count", "3")
    (out / "000001.png").unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    said.clear()
    assert drawn(place, file, out, "--count", "4").items() > first.items()
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in out.iterdir()}.items()
    assert "2 of 4 pictures are there already and are kept" in said.text and said.text.count("is drawn") == 2


@pytest.mark.parametrize("words", [("--weight", "2"), ("--prompt", "a plate"), ("--steps", "4")])
def test_pictures_of_other_settings_are_kept_and_the_command_refused(place, trained, tmp_path, said, words):
    out = tmp_path / "drawn"
    before = drawn(place, trained["sd", "text-free"], out, "--count", "2")
    asked = ["sample", "--base", place / "sd", "--out", out, "--width", 16, "--height", 24, "--seed", 1]
    for domain, more in ((trained["sd", "text-free"], words), (trained["sd", "empty-prompt"], ())):
        said.clear()
        assert main([*map(str, asked), "--domain", str(domain), "--steps", "3", *more]) == 1
        assert re.search("Stopped: '.*000001.png' exists already and was not drawn with these settings", said.text)
    assert pixels(out) == before


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_picture_that_is_none_of_ours_is_kept(place, trained, tmp_path, said, content):
    (tmp_path / "000000.png").write_bytes(content)
    asked = ["sample", "--base", place / "sd", "--domain", trained["sd", "text-free"], "--out", tmp_path]
    assert main([*map(str, asked), "--width", "16", "--height", "16", "--steps", "1"]) == 1
    assert "exists already" in said.text and (tmp_path / "000000.png").read_bytes() == content


def test_the_words_that_a_prompt_loses_are_named(place, trained, tmp_path, said):
    for base in ("sd", "xl"):
        said.clear()
        prompt = "a a a a a"  # of words that the tokenizer here has as one token
        drawn(place, trained[base, "text-free"], tmp_path / base, "--count", "1", "--prompt", prompt, base=base)
        assert said.text.count("longer than the 3 tokens") == 1
        assert ", and 'a a' is left out" in said.text


def test_a_prompt_that_fits_loses_nothing_and_nothing_is_said(place, said):
    DiffusersFolder(str(place / "sd")).prompt("a a a")
    assert "left out" not in said.text and "longer" not in said.text


def test_a_domain_of_another_base_is_said_and_another_prediction_refused(place, trained, tmp_path, said):
    from diffusers import DDPMScheduler

    shutil.copytree(place / "sd", tmp_path / "v")
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction"
    ).save_pretrained(tmp_path / "v" / "scheduler")
    words = [
        "sample",
        "--base",
        str(tmp_path / "v"),
        "--domain",
        str(trained["sd", "text-free"]),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(words) == 1
    assert "predicts epsilon and the base v_prediction" in said.text


def refused_by_sample(base, domain, out):
    return main(["sample", "--base", str(base), "--domain", str(domain), "--out", str(out)]) == 1


@pytest.mark.parametrize("form", ["text-free", "empty-prompt", "adapter"])
def test_a_domain_of_another_size_of_network_is_refused_in_one_sentence(place, trained, tmp_path, said, form):
    if ("sd", form) not in trained:
        pytest.skip("peft is not installed")
    file, wide = trained["sd", form], with_unet(place, tmp_path / "wide", cross_attention_dim=24)
    assert refused_by_sample(wide, file, tmp_path / "out")
    words = "The empty prompt of .* is 16 numbers wide and the base reads 24"
    kind = words if form == "adapter" else "another kind of network than this base .*attn2.to_k.weight"
    (line,) = [line for line in said.messages if line.startswith("Stopped: ")]
    assert re.search(f"{kind}.*: give the base that it was trained from.$", line)


def test_an_adapter_without_a_pooled_vector_is_refused_on_a_base_that_reads_one(place, trained, tmp_path, said):
    pytest.importorskip("peft")
    base = with_unet(place, tmp_path / "sizes", **mini_pipeline.SDXL_SIZES)
    assert refused_by_sample(base, trained["sd", "adapter"], tmp_path / "out")
    assert "has no pooled vector and the base reads a pooled vector of 16 numbers: give the base" in said.text


def numbers_of_commands():
    """A command, words that satisfy it, and the option of each of its numbers."""
    for command in COMMANDS:
        parser = argparse.ArgumentParser()
        command.add_options(parser)
        words = [command.name]
        for action in parser._actions:
            if action.required:
                words += [*action.option_strings[:1], str(next(iter(action.choices or ["1"])))]
        for action in parser._actions:
            if action.type is float:
                yield command.name, words, action.option_strings[0], action.nargs or 1


@pytest.mark.parametrize("seed", [2**64, 10**30, -(2**63) - 1])
def test_a_seed_that_no_generator_takes_is_refused_by_every_command_that_has_one(capsys, seed):
    found = {name: words for name, words, *_ in numbers_of_commands()}
    words = ["--images", "i", "--reference", "r", "--clip", "c"]
    for command in ("train", "sample", "adapt", "evaluate"):
        with pytest.raises(SystemExit) as ended:
            main([*found.get(command, [command, *words]), "--seed", str(seed)])
        assert ended.value.code == 2
        assert f"argument --seed: got {seed}, expected a whole number from 0 to" in capsys.readouterr().err


def test_a_seed_that_runs_were_begun_with_is_still_taken():
    assert options_of("--seed", "-1").seed == -1 and options_of("--seed", str(2**64 - 1)).seed == 2**64 - 1


def test_every_number_of_every_command_must_be_finite(capsys):
    found = list(numbers_of_commands())
    assert len(found) > 20 and {"train", "sample", "adapt", "generate"} <= {name for name, *_ in found}
    for _, words, option, count in found:
        for value in ("nan", "inf"):
            with pytest.raises(SystemExit) as ended:
                main([*words, option, *[value] * count])
            said = capsys.readouterr().err
            assert ended.value.code == 2 and f"argument {option}: got {value}, expected a finite number." in said
