"""`python -m domain_guidance adapt`: a generator of 16 px and a diffusers folder a few thousand parameters large."""

import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import mini_pipeline
import pytest
import tiny_adaptation as tiny
import torch
from PIL import Image
from safetensors.torch import load_file

from domain_guidance.__main__ import main
from domain_guidance.commands.adapt import ADAPT
from domain_guidance.commands.adapt_options import adaptation_settings
from domain_guidance.commands.command import parse
from domain_guidance.commands.critic import DOMAIN_WEIGHT, make_critic
from domain_guidance.commands.presets import ADAPT_PRESETS
from domain_guidance.diffusers_host.folder import DiffusersFolder
from domain_guidance.diffusers_host.trained_file import load_trained
from domain_guidance.distillation import Distillation, NoiseRange, distill
from domain_guidance.generators import (
    Eg3dConfig,
    Eg3dGenerator,
    GeneratorCard,
    GeneratorConfig,
    read_generator_file,
    write_generator_file,
)
from domain_guidance.generators.eg3d import Rendering
from domain_guidance.runs import RunFiles
from domain_guidance.runs.run_log import read_log

ROOT = Path(__file__).parents[2]
ELSEWHERE = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with bases (`sd`, `xl`), a generator, and domains of `sd`: one without text, one that reads it, an
    adapter.
    """
    folder = tmp_path_factory.mktemp("adapt command")
    mini_pipeline.write_pipeline(folder / "sd")
    mini_pipeline.write_pipeline(folder / "xl", sdxl=True)
    mini_pipeline.write_images(folder / "images")
    file = tiny.tiny_file()
    write_generator_file(folder / "generator.safetensors", file.weights, file.card)
    for form in ("text-free", "empty-prompt", *(["adapter"] if importlib.util.find_spec("peft") else [])):
        assert main(trained(folder, form)) == 0
    return folder


def trained(place, form):
    values = {
        "base": place / "sd",
        "images": place / "images",
        "out": place,
        "name": form,
        "form": form,
        "steps": 6,
        "resolution": 16,
        "buckets": "shorter-side",
        "learning-rate": 1e-2,
        "evaluate-every": 0,
    }
    return ["train", *(word for name, value in values.items() for word in (f"--{name}", str(value)))]


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def arguments(place, out, *switches, base="sd", **changed):
    values = {
        "base": place / base,
        "out": out,
        "prompt": "a plate",
        "steps": 6,
        "resolution": 16,
        "sample_every": 0,
        "checkpoint_every": 3,
        **changed,
    }
    words = [
        word
        for name, value in values.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value]))
    ]
    return ["adapt", str(place / "generator.safetensors"), *words, *switches]


def options_of(*words):
    return parse("program", "", [ADAPT], ["adapt", *words])[1]


def weights(file):
    return read_generator_file(file).weights


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- what it makes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["sd", "xl"])
def test_a_prompt_moves_what_is_trained_and_nothing_else(place, tmp_path, base):
    out = tmp_path / "made" / "plate.safetensors"
    assert main(arguments(place, out, base=base, directional=0.5, reconstruction=0.5)) == 0
    before, after = weights(place / "generator.safetensors"), weights(out)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "synthesis.b16.conv1.weight" in moved
    assert not any("torgb" in name or "bias" in name or "mapping" in name or "b4" in name for name in moved)
    record = read_generator_file(out).card.training
    assert record["trained_steps"] == 6 and record["distillation"]["directional"] == 0.5
    assert record["critic"]["prompt"] == "a plate" and record["critic"]["cfg"] == 100.0
    assert Image.open(RunFiles(out.parent, "plate").curve).size == (640, 480)


def test_an_eg3d_generator_is_adapted_by_the_same_command(place, tmp_path):
    backbone = GeneratorConfig(16, (6, 6, 6), z_dim=5, w_dim=6, c_dim=25, mapping_layers=2, channels=12)
    rendering = Rendering(resolution=8, samples=6, importance_samples=6)
    config = Eg3dConfig(backbone, resolution=32, superresolution_widths=(6, 4), decoder_width=8, rendering=rendering)
    torch.manual_seed(0)
    write_generator_file(tmp_path / "generator.safetensors", Eg3dGenerator(config).state_dict(), GeneratorCard(config))
    words = arguments(place, tmp_path / "made.safetensors", steps=2, resolution=32, sample_every=2)
    assert main([words[0], str(tmp_path / "generator.safetensors"), *words[2:]]) == 0
    before, after = weights(tmp_path / "generator.safetensors"), weights(tmp_path / "made.safetensors")
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == {
        "backbone",
        "superresolution",
    }
    assert Image.open(RunFiles(tmp_path, "made").run_folder / "sample-000002.png").size == (6 * 32, 2 * 32)


def test_the_adapted_generator_is_drawn_from(place, tmp_path):
    main(arguments(place, tmp_path / "plate.safetensors"))
    assert (
        main(["generate", str(tmp_path / "plate.safetensors"), "--seeds", "0-3", "--out", str(tmp_path / "drawn.png")])
        == 0
    )
    assert Image.open(tmp_path / "drawn.png").size == (2 * 16, 2 * 16)


def test_previews_show_the_source_above_the_adapted_pictures_and_begin_equal(place, tmp_path):
    main(arguments(place, tmp_path / "plate.safetensors", sample_every=3, learning_rate=0.5))
    files = sorted(RunFiles(tmp_path, "plate").run_folder.glob("sample-*.png"))
    assert [file.name for file in files] == ["sample-000000.png", "sample-000003.png", "sample-000006.png"]
    rows = [[Image.open(file).crop((0, top, 6 * 16, top + 16)).tobytes() for top in (0, 16)] for file in files]
    assert rows[0][0] == rows[0][1]
    assert all(row[0] == rows[0][0] for row in rows) and rows[2][0] != rows[2][1]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_narrow_arithmetic_adapts_too(place, tmp_path, precision):
    # fp16 leaves steps out while it looks for its loss scale
    assert main(arguments(place, tmp_path / "made.safetensors", precision=precision, steps=25)) == 0
    before, after = weights(place / "generator.safetensors"), weights(tmp_path / "made.safetensors")
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert "synthesis.b16.conv1.weight" in moved and all(after[name].isfinite().all() for name in moved)


# --- the critic ------------------------------------------------------------------------------------------------------


def critic_of(place, stack, **changed):
    return make_critic(options_of(*arguments(place, "unused.safetensors", **changed)[1:]), torch.device("cpu"), stack)


def predictions(place, x, sigma, domain=None):
    """What base and domain say of every prompt, by plain calls of the networks."""
    base = DiffusersFolder(str(place / "sd"))
    unet, (schedule, _) = base.unet(), base.schedule()
    empty = base.prompt()
    if domain:
        _, empty = load_trained(place / f"{domain}.safetensors", unet)

    def ask(prompt):
        s = sigma.reshape(-1, 1, 1, 1)
        with torch.no_grad():
            noise = unet(
                x / (s**2 + 1).sqrt(), schedule.timestep(sigma), prompt.cross_attn.expand(len(x), -1, -1)
            ).sample
        return x - s * noise

    return ask(empty) if domain else {text: ask(base.prompt(text)) for text in ("", "a", "a plate")}


X, SIGMA = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.4, 3.0])
DOMAINS = ["text-free", "empty-prompt", pytest.param("adapter", marks=needs_peft)]


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("prompt, negative", [(None, ""), ("a plate", ""), ("a plate", "a")])
def test_the_critic_is_the_sum_of_its_terms(place, domain, prompt, negative):
    found, in_domain = predictions(place, X, SIGMA), predictions(place, X, SIGMA, domain)
    wanted = 2.0 * (in_domain - found[""])
    wanted += found[negative] + 7.0 * (found["a plate"] - found[negative]) if prompt else found[""]
    with ExitStack() as stack, torch.no_grad():
        critic = critic_of(
            place,
            stack,
            prompt=prompt,
            negative=negative,
            cfg=7.0,
            domain=place / f"{domain}.safetensors",
            domain_weight=2.0,
        )
        torch.testing.assert_close(critic.denoise(X, SIGMA), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changed, batches",
    [
        ({}, [2 * 2]),
        ({"negative": "a"}, [2 * 2]),
        ({"domain": "text-free", "domain_weight": 2.0}, [2 * 2, 2]),
        ({"domain": "text-free", "domain_weight": 2.0, "negative": "a"}, [3 * 2, 2]),
        ({"domain": "text-free", "domain_weight": 2.0, "prompt": None}, [2, 2]),
        ({"domain": "text-free", "domain_weight": 0.0}, [2 * 2]),
    ],
)
def test_branches_of_the_same_weights_are_one_call_and_weight_0_is_none(place, changed, batches):
    if "domain" in changed:
        changed = {**changed, "domain": place / "text-free.safetensors"}
    calls = []
    with ExitStack() as stack, torch.no_grad():
        critic = critic_of(place, stack, **changed)
        for unet in (critic.unet.unet, *([critic.domain.unet.unet] if critic.domain else [])):
            unet.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
        critic.denoise(X, SIGMA)
    assert calls == batches


def test_a_domain_changes_the_gradient_by_its_weighted_difference_and_no_more(place):
    """-(alpha / sigma) w(t) weight (D_domain - D_ref), at the latent; small pictures, so that nothing is clamped."""
    domain, weight = place / "text-free.safetensors", 1.5
    seen = {}
    with ExitStack() as stack:
        for name, changed in {"plain": {}, "with": {"domain": domain, "domain_weight": weight}}.items():
            critic = critic_of(place, stack, cfg=1.0, **changed)
            seen[name] = latent_gradient(critic)
    (gradient, clean, noisy, sigma), (other, *rest) = seen["plain"], seen["with"]
    assert all(torch.equal(a, b) for a, b in zip((clean, noisy, sigma), rest))
    s = sigma.reshape(-1, 1, 1, 1)
    term = predictions(place, noisy, sigma, "text-free") - predictions(place, noisy, sigma)[""]
    expected = -(1 / s) * (s**2 / (1 + s**2)) * weight * term
    assert gradient.abs().max() < 1 and other.abs().max() < 1 and expected.abs().max() > 1e-3
    torch.testing.assert_close(other - gradient, expected, rtol=1e-4, atol=1e-5)


def latent_gradient(critic):
    """The distillation's gradient at the latent, taken where it enters the encoder's graph, and what the critic was
    asked.
    """
    kept = {}

    def encode(pixels):
        latent = critic.encode(pixels)
        latent.register_hook(lambda gradient: kept.update(gradient=gradient))
        kept["clean"] = latent.detach()
        return latent

    def denoise(noisy, sigma):
        kept.update(noisy=noisy, sigma=sigma)
        return critic.denoise(noisy, sigma)

    images = 0.1 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    settings = Distillation(resolution=16, noise=NoiseRange(0.01, 0.1), percentile=1.0)
    distill(
        images.requires_grad_(),
        None,
        SimpleNamespace(denoise=denoise, encode=encode, schedule=critic.schedule, prediction=critic.prediction),
        settings,
        torch.Generator().manual_seed(2),
    )
    return kept["gradient"], kept["clean"], kept["noisy"], kept["sigma"]


def test_sdxl_is_asked_with_both_pooled_vectors_and_the_size_at_which_it_looks(place):
    base = DiffusersFolder(str(place / "xl"))
    unet, (schedule, _), prompts = base.unet(), base.schedule(), [base.prompt(""), base.prompt("a plate")]
    sizes = torch.tensor([[24.0, 24.0, 0.0, 0.0, 24.0, 24.0]]).expand(2, -1)
    s, found = SIGMA.reshape(-1, 1, 1, 1), []
    with ExitStack() as stack, torch.no_grad():
        for prompt in prompts:
            added = {"text_embeds": prompt.pooled_output.expand(2, -1), "time_ids": sizes}
            noise = unet(
                X / (s**2 + 1).sqrt(),
                schedule.timestep(SIGMA),
                prompt.cross_attn.expand(2, -1, -1),
                added_cond_kwargs=added,
            ).sample
            found.append(X - s * noise)
        critic = critic_of(place, stack, base="xl", cfg=4.0, resolution=24)
        torch.testing.assert_close(
            critic.denoise(X, SIGMA), found[0] + 4.0 * (found[1] - found[0]), rtol=1e-4, atol=1e-4
        )


def test_pixels_are_encoded_as_the_vaes_mode_with_a_graph_and_without_the_decoder(place, tmp_path):
    shutil.copytree(place / "sd", tmp_path / "sd")
    config = tmp_path / "sd" / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "scaling_factor": 0.4, "shift_factor": 0.3}))
    vae = DiffusersFolder(str(tmp_path / "sd")).vae()
    pixels = torch.rand(2, 3, 16, 16) * 2 - 1
    wanted_input, found_input = (pixels.clone().requires_grad_() for _ in range(2))
    wanted = (vae.encode(wanted_input).latent_dist.mode() - 0.3) * 0.4
    with ExitStack() as stack:
        critic = critic_of(tmp_path, stack)
        found = critic.encode(found_input)
        found.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found_input.grad, wanted_input.grad)
    assert not any("decoder" in name for name, _ in critic.encoder.named_parameters())


def test_a_vae_that_says_so_stays_wide_beside_fp16(place):
    with ExitStack() as stack:
        kinds = {
            precision: critic_of(place, stack, precision=precision).encoder.dtype
            for precision in ("fp32", "bf16", "fp16")
        }
    assert kinds == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float32}


@pytest.mark.parametrize("precision, within", [("bf16", 5e-2), ("fp16", 5e-3)])
def test_a_narrow_critic_says_nearly_the_same(place, precision, within):
    said = []
    for kind in ("fp32", precision):
        with ExitStack() as stack, torch.no_grad():
            said.append(critic_of(place, stack, precision=kind, cfg=3.0).denoise(X, SIGMA))
    assert 0 < (said[1] - said[0]).norm() / said[0].norm() < within


@needs_peft
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_lora_is_added_to_the_critics_weights(place, tmp_path, strength):
    file, layers = mini_pipeline.write_lora(tmp_path / "lora.safetensors", place / "sd")
    wanted = DiffusersFolder(str(place / "sd")).unet().state_dict()
    for name in [name for name in layers if name.endswith("lora_A.weight")]:
        up = layers[name.replace("lora_A", "lora_B")]
        wanted[name.replace("lora_A.", "")] += strength * up @ layers[name]
    with ExitStack() as stack:
        found = critic_of(place, stack, lora=file, lora_strength=strength).unet.unet.state_dict()
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name])


@needs_peft
def test_a_lora_for_a_network_of_another_size_is_refused_in_one_sentence(place, tmp_path, said):
    from diffusers import UNet2DConditionModel

    wide = tmp_path / "wide"
    UNet2DConditionModel(**{**mini_pipeline.UNET, "block_out_channels": (32, 32)}).save_pretrained(wide / "unet")
    file, _ = mini_pipeline.write_lora(tmp_path / "lora.safetensors", wide)
    assert main(arguments(place, tmp_path / "made.safetensors", lora=file)) == 1
    (line,) = [line for line in said.messages if line.startswith("Stopped: ")]
    assert re.search("is a LoRA for a network of another size: .* is for 32 channels and the base has 16", line)
    assert "\n" not in line


@needs_peft
def test_an_adapter_of_this_library_is_a_lora_too(place):
    unet = DiffusersFolder(str(place / "sd")).unet()
    load_trained(place / "adapter.safetensors", unet)
    with ExitStack() as stack:
        found = critic_of(place, stack, lora=place / "adapter.safetensors").unet.unet.state_dict()
    assert same(found, unet.state_dict())


# --- how a run goes on -----------------------------------------------------------------------------------------------


def test_the_same_command_resumes_to_the_same_file_and_another_critic_is_named(place, tmp_path, said):
    main(arguments(place, tmp_path / "whole.safetensors", steps=9))
    main(arguments(place, tmp_path / "parts.safetensors", steps=4))
    main(arguments(place, tmp_path / "parts.safetensors", steps=9))
    assert same(weights(tmp_path / "whole.safetensors"), weights(tmp_path / "parts.safetensors"))
    assert main(arguments(place, tmp_path / "parts.safetensors", steps=9, prompt="a")) == 1
    assert (
        "Stopped: There is a saved run 'parts', which cannot be resumed: critic prompt was a plate and is a"
        in said.text
    )
    assert (
        main(arguments(place, tmp_path / "parts.safetensors", "--on-existing", "new version", steps=1, prompt="a")) == 0
    )
    assert (tmp_path / "parts-2.safetensors").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
def test_ctrl_c_saves_the_state_and_the_same_command_makes_the_same_file(place, tmp_path):
    words = arguments(place, tmp_path / "stopped.safetensors", steps=100000, checkpoint_every=0)
    process = subprocess.Popen(
        [sys.executable, "-m", "domain_guidance", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ELSEWHERE,
    )
    files = RunFiles(tmp_path, "stopped")
    while process.poll() is None and sum(line["event"] == "step" for line in read_log(files.log)) < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    made = [line["step"] for line in read_log(files.log) if line["event"] == "step"]
    assert int(load_file(files.state)["optimizer.step.synthesis.b8.conv0.weight"]) == made[-1] >= 3
    assert "Stopped by the user; the same command resumes from what is saved" in output and "Traceback" not in output
    steps = made[-1] + 2
    main(arguments(place, tmp_path / "stopped.safetensors", steps=steps))
    main(arguments(place, tmp_path / "whole.safetensors", steps=steps))
    assert same(weights(tmp_path / "stopped.safetensors"), weights(tmp_path / "whole.safetensors"))


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed")
def test_two_processes_under_accelerate_launch_write_the_file_of_one_with_the_same_batch(place, tmp_path):
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
    words = arguments(place, tmp_path / "two.safetensors", batch_size=2, directional=1.0)
    command = [*launch, "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "domain_guidance", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=ELSEWHERE)
    assert done.returncode == 0, done.stderr[-3000:]
    main(arguments(place, tmp_path / "one.safetensors", batch_size=2, directional=1.0))
    one, two = (weights(tmp_path / f"{kind}.safetensors") for kind in ("one", "two"))
    before = weights(place / "generator.safetensors")
    moved = max((one[name] - before[name]).abs().max() for name in one)
    assert all((one[name] - two[name]).abs().max() < 1e-3 * moved for name in one)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"prompt": None}, "neither a prompt nor a domain.*give --prompt, --domain or both"),
        (
            {"prompt": None, "negative": "a", "domain": "text-free.safetensors"},
            "A negative prompt was given without a prompt",
        ),
        ({"domain_weight": 2.0}, "A domain weight was given without a domain"),
        (
            {"prompt": None, "domain": "text-free.safetensors", "domain_weight": 0.0},
            "--domain-weight is 0 and there is no prompt, so the critic has nothing to judge by: give --prompt",
        ),
        ({"base": "nowhere"}, "nowhere' is not a diffusers folder"),
        ({"resolution": 17}, "--resolution is 17 pixels: make it a multiple of 2"),
        ({"range": (0.5, 0.1)}, "goes from 0.5 to 0.1: give two fractions between 0 and 1"),
        ({"steps": 0}, "number of steps is 0"),
        ({"batch_size": 3, "micro_batch": 2}, "A batch of 3 images cannot be divided"),
        ({"relative_distance": 1.0}, "batch_size is 1: raise it to at least 3"),
        ({"layers": 90}, "layers is 90, but only"),
        ({"lora": "nowhere.safetensors"}, "There is no LoRA '.*nowhere.safetensors'"),
        ({"lora": "generator.safetensors"}, "holds no LoRA for a UNet"),
        ({"domain": "generator.safetensors"}, "is not a domain file"),
    ],
)
def test_what_cannot_work_ends_in_one_sentence_and_exit_status_1(place, tmp_path, said, changed, message):
    if changed.get("lora") == "generator.safetensors":
        pytest.importorskip("peft")
    changed = {name: place / value if name in ("lora", "domain", "base") else value for name, value in changed.items()}
    assert main(arguments(place, tmp_path / "made.safetensors", **changed)) == 1
    assert re.search(f"Stopped: .*{message}", said.text)
    assert not (tmp_path / "made.safetensors").exists()


def test_the_words_that_a_negative_prompt_loses_are_named(place, tmp_path, said):
    words = arguments(place, tmp_path / "made.safetensors", steps=1, prompt="a", negative="a a a a a")
    assert main(words) == 0
    assert ", and 'a a' is left out" in said.text


def test_a_torn_generator_is_refused_before_the_base_is_read(place, tmp_path, said):
    shutil.copytree(place, tmp_path / "place", ignore=shutil.ignore_patterns("sd", "xl", "images", "latents"))
    torn = tmp_path / "place" / "generator.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])
    assert main(arguments(tmp_path / "place", tmp_path / "made.safetensors")) == 1
    assert re.search("Stopped: .*generator.safetensors", said.text)


# --- options ---------------------------------------------------------------------------------------------------------


def test_the_presets_have_the_papers_values():
    """Written out from what is known of arXiv 2212.04473."""
    shared = {
        "cfg": 100.0,
        "batch_size": 1,
        "learning_rate": 8e-4,
        "truncation": 1.0,
        "precision": "fp32",
        "resolution": 512,
        "score": "sds",
        "percentile": 0.95,
    }
    assert {
        "stylegan-fusion-faces": {
            **shared,
            "steps": 1001,
            "range": (0.01, 0.5),
            "directional": 1.0,
            "reconstruction": 1.0,
        },
        "stylegan-fusion-cats": {
            **shared,
            "steps": 2001,
            "range": (0.01, 0.3),
            "reconstruction": 0.5,
            "perceptual": 0.3,
        },
        "stylegan-fusion-eg3d": {
            **shared,
            "steps": 5001,
            "range": (0.01, 0.5),
            "directional": 0.5,
            "unit_score": True,
            "unit_directional": True,
            "scale": 0.01,
            "percentile": 1.0,
        },
    } == ADAPT_PRESETS


def test_what_is_typed_wins_over_the_preset_and_the_preset_over_the_defaults():
    words = [
        "g.pkl",
        "--base",
        "b",
        "--out",
        "o",
        "--preset",
        "stylegan-fusion-cats",
        "--steps",
        "5",
        "--perceptual",
        "0",
    ]
    settings = adaptation_settings(options_of(*words), world=1)
    assert (settings.steps, settings.perceptual) == (5, 0)
    assert settings.distillation == Distillation(resolution=512, noise=NoiseRange(0.01, 0.3), reconstruction=0.5)


@pytest.mark.parametrize(
    "words, held_by",
    [
        ([], {"reconstruction": 1.0}),
        (["--prompt", ""], {"reconstruction": 1.0}),
        (["--prompt", "a"], {"directional": 1.0}),
        (["--prompt", "a", "--reconstruction", "0.5"], {"reconstruction": 0.5}),
        (["--prompt", "a", "--directional", "0"], {}),
    ],
)
def test_a_regulariser_holds_the_source_unless_another_or_none_is_asked_for(words, held_by):
    settings = adaptation_settings(options_of("g.pkl", "--base", "b", "--out", "o", *words), world=1)
    assert settings.distillation == Distillation(**held_by)


def test_a_domain_without_a_weight_has_the_default_one_and_other_bases_are_named(place, tmp_path, said):
    with ExitStack() as stack:
        critic = critic_of(place, stack, domain=place / "text-free.safetensors", prompt=None)
        assert critic.domain.weight == critic.identity["domain weight"] == DOMAIN_WEIGHT
        assert "another base" not in said.text
    other = DiffusersFolder(str(place / "sd")).unet()
    for parameter in other.parameters():
        parameter.data.neg_()
    shutil.copytree(place / "sd", tmp_path / "sd")
    other.save_pretrained(tmp_path / "sd" / "unet")
    with ExitStack() as stack:
        critic_of(tmp_path, stack, domain=place / "text-free.safetensors")
    assert "'text-free.safetensors' was trained from another base (sd)" in said.text


def test_a_dry_run_prints_the_resolved_options_and_touches_nothing(place, tmp_path, said):
    assert main(arguments(place, tmp_path / "made.safetensors", "--dry-run", preset="stylegan-fusion-cats")) == 0
    assert '"reconstruction": 0.5' in said.text and not list(tmp_path.iterdir())
