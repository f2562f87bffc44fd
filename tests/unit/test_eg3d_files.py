"""EG3D files: read to the last digit with all that no shape tells, or refused with the reason; and the generator file
they become.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import eg3d_sheet as sheet
import hostile_files
import numpy as np
import pytest
import sheet as stylegan2_sheet
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from domain_guidance.__main__ import main
from domain_guidance.generators import (
    Eg3dGenerator,
    GeneratorCard,
    GeneratorFileError,
    build_generator,
    convert,
    infer_config,
    latents,
    open_generator_file,
    read_generator_file,
    write_generator_file,
)
from domain_guidance.generators.eg3d import Rendering
from domain_guidance.generators.generator_file import CARD_KEY

HERE = Path(__file__).parent / "generators"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
REFUSED = {
    "enlarges-otherwise.pkl": "super-resolution is 'SuperresolutionHybridDeepfp32', expected one of EG3D's",
    "no-super-resolution.pkl": "super-resolution is 'none'",
    "disparity.pkl": "disparity",
    "clamps-density.pkl": "clamps its density",
    "automatic-ray.pkl": "'ray_start' is not the number",
    "many-samples.pkl": "1000000 samples",
    "huge-number.pkl": "whole number of more than 64 bits",
    "truth-for-a-number.pkl": "'ray_start' is not the number",
    "nan-box.pkl": "box of nan",
    "noise-mode.pkl": "The noise 'xxx",
    "camera-scale.pkl": "'c_scale' is not the number",
    "pivot.pkl": "'avg_camera_pivot'",
    "pivot-of-two.pkl": "'avg_camera_pivot' is no list of three",
    "missing.pkl": "'backbone.mapping.w_avg' is missing",
    "missing-decoder.pkl": "'decoder.net.2.bias' is missing",
    "unknown.pkl": "'backbone.synthesis.b8.attention.weight'",
    "wrong-shape.pkl": r"\[5, 4, 3, 3\], expected \[5, 5, 3, 3\]",
    "nan.pkl": "'decoder.net.0.weight' holds NaN",
    "other-camera.pkl": "16 numbers of a camera",
    "two-clamps.pkl": "clamp to different bounds",
    "other-activation.pkl": "ReLU",
    "other-renderer.pkl": "rendered in another way",
    "state-dict.pt": "EG3D generator in another form",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eg3d")
    (folder / "canary").touch()
    subprocess.run([sys.executable, HERE / "write_eg3d_files.py", folder], check=True, env=ENVIRONMENT)
    return folder


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_file_gives_the_weights_that_were_written_and_runs_nothing(files, protocol):
    file = open_generator_file(files / f"eg3d{protocol}.pkl")
    expected = sheet.weights()
    assert file.weights.keys() == expected.keys() and all(
        torch.equal(file.weights[name], tensor) for name, tensor in expected.items()
    )
    config = file.card.config
    assert (
        file.card.architecture == "eg3d" and file.card.origin.kind == "EG3D pickle" and file.card.origin.estimated == ()
    )
    assert (config.resolution, config.features, config.z_dim, config.w_dim, config.c_dim, config.style_count) == (
        32,
        4,
        10,
        12,
        25,
        6,
    )
    assert config.rendering == Rendering(resolution=sheet.RAYS, samples=sheet.SAMPLES, importance_samples=4)
    assert (config.backbone.conv_clamp, config.superresolution_clamp) == (None, 256)
    assert (config.pivot, config.radius, config.camera_scale, config.superresolution_noise) == (
        (0, 0, -0.06),
        2.7,
        1.0,
        "none",
    )
    assert b"os.remove" in (files / f"eg3d{protocol}.pkl").read_bytes() and (files / "canary").exists()


def test_what_no_shape_tells_is_read_from_the_options(files):
    config = open_generator_file(files / "other.pkl").card.config
    assert config.rendering == Rendering(sheet.RAYS, sheet.SAMPLES, 4, 0.1, 2.6, 1.6, True)
    assert (config.backbone.conv_clamp, config.superresolution_clamp) == (128, None)
    assert (config.pivot, config.radius, config.camera_scale) == ((0, 0, 0), 1.7, 0.0)
    assert (config.superresolution_noise, config.decoder_rate) == ("const", 2.0)


@pytest.mark.parametrize(("kind", "begins"), [("2X", 16), ("4X", 16), ("8X", 8), ("8XDC", 8)])
def test_every_published_super_resolution_is_read_and_kept_and_draws(files, tmp_path, kind, begins):
    """Of 32 px, as the tests' generators are: those of two and four times begin at half, the others at a quarter."""
    file = open_generator_file(files / f"enlarges-{kind}.pkl")
    assert file.card.config.enlarged_from == begins
    write_generator_file(tmp_path / "kept.safetensors", file.weights, file.card)
    kept = read_generator_file(tmp_path / "kept.safetensors")
    assert kept.card.config == file.card.config
    generator = build_generator(kept)
    ws = generator.styles(latents([1], sheet.Z), torch.zeros(1, 25))
    view = generator.view(generator.planes(ws), ws, generator.cameras())
    assert generator.superresolution.pixels == begins and view.image.shape == (1, 3, 32, 32)


def test_a_mapping_whose_file_gives_no_scale_of_the_camera_reads_none(files):
    """The format's own loader takes 0 for it, so every camera gives the same styles."""
    file = open_generator_file(files / "no-camera-scale.pkl")
    assert file.card.config.camera_scale == 0
    generator, z = build_generator(file), latents([1], sheet.Z)
    one, two = (
        generator.styles(z, camera)
        for camera in (torch.zeros(1, 25), torch.randn(1, 25, generator=torch.Generator().manual_seed(0)))
    )
    assert torch.equal(one, two)


def test_the_reader_does_nothing_but_read(files):
    """The interpreter says so itself. The loader of the format would run what the file brings, and delete `canary`."""
    run = subprocess.run(
        [sys.executable, HERE / "read_watched.py", files, files / "refused"],
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    found = json.loads(run.stdout)
    results = found["files"]
    assert all(results[name] == {"said": None, "did": []} for name in ("eg3d3.pkl", "eg3d4.pkl", "other.pkl"))
    assert all(
        results[name]["did"] == [] and re.search(reason, results[name]["said"]) for name, reason in REFUSED.items()
    )
    assert any(event.startswith("pickle.find_class") for event in found["control"]) and (files / "canary").exists()


@pytest.mark.parametrize("name", REFUSED)
def test_another_file_is_refused_for_its_reason(files, name, tmp_path):
    with pytest.raises(GeneratorFileError, match=REFUSED[name]) as caught:
        convert(files / "refused" / name, tmp_path / "out.safetensors")
    message = str(caught.value)
    assert name in message and message.endswith(".") and "\n" not in message and len(message) < 300
    assert list(tmp_path.iterdir()) == []


def test_every_refusal_is_tested(files):
    assert {path.name for path in (files / "refused").iterdir()} == REFUSED.keys()


def hostile():
    decoder = hostile_files.named("training.triplane", "OSGDecoder")
    empty = b")"
    return {
        "with-arguments": (
            (decoder, hostile_files.tuple_of(hostile_files.text("x")), b"\x81"),
            "in a way that pickles of networks do not",
        ),
        "state-is-text": ((decoder, empty, b"\x81", hostile_files.text("x"), b"b"), "network without a state"),
        "no-state-at-all": ((decoder, empty, b"\x81"), "'G_ema'"),
        "another-class": ((hostile_files.named("training.triplane", "os.remove"), empty, b"R"), "another kind"),
        "the-modules-loader": (
            (hostile_files.named("torch.nn.modules.module", "_load"), empty, b"R"),
            "torch.nn.modules.module._load",
        ),
    }


@pytest.mark.parametrize("name", hostile())
def test_a_hostile_file_is_refused(tmp_path, name):
    parts, reason = hostile()[name]
    (tmp_path / "bad.pkl").write_bytes(hostile_files.pickled(*parts) + b" " * 64)
    with pytest.raises(GeneratorFileError, match=re.escape(reason)):
        open_generator_file(tmp_path / "bad.pkl")


def test_a_file_damaged_anywhere_is_read_or_refused_and_nothing_else(files, tmp_path):
    whole, random = bytearray((files / "eg3d4.pkl").read_bytes()), torch.Generator().manual_seed(0)
    for _ in range(100):
        changed = bytearray(whole)
        for place in torch.randint(len(whole), (3,), generator=random):
            changed[place] = int(torch.randint(256, (), generator=random))
        (tmp_path / "damaged.pkl").write_bytes(changed)
        try:
            open_generator_file(tmp_path / "damaged.pkl")
        except GeneratorFileError as error:
            assert str(error).endswith(".") and "\n" not in str(error)


# --- our file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(files, tmp_path):
    convert(files / "other.pkl", tmp_path / "head.safetensors")
    return tmp_path / "head.safetensors"


def test_a_converted_file_is_the_same_generator(files, path, tmp_path):
    one, two = open_generator_file(files / "other.pkl"), open_generator_file(path)
    assert one.card == two.card and two.card.config.rendering.white
    networks = [build_generator(file) for file in (one, two)]
    assert all(isinstance(network, Eg3dGenerator) and not network.training for network in networks)
    z = latents([1, 2], sheet.Z)
    assert torch.equal(networks[0](z), networks[1](z))
    write_generator_file(tmp_path / "again.safetensors", networks[0].state_dict(), one.card)
    assert read_generator_file(tmp_path / "again.safetensors").card == one.card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"].pop("backbone"), "card is damaged"),
        (lambda c: c["config"].update(rendering=None), "card is damaged"),
        (lambda c: c["config"]["rendering"].update(samples=10**9), "card is damaged"),
        (lambda c: c["config"]["rendering"].update(near="x"), "card is damaged"),
        (lambda c: c["config"].update(pivot=[1, 2]), "card is damaged"),
        (lambda c: c["config"].update(pivot=["a", "b", "c"]), "card is damaged"),
        (lambda c: c["config"].update(superresolution_noise="loud"), "card is damaged"),
        (lambda c: c["config"].update(superresolution_clamp=-1), "card is damaged"),
        (lambda c: c["config"].update(resolution=64), "other sizes"),
        (lambda c: c["config"]["backbone"].update(resolution=64), "other sizes"),
        (lambda c: c.update(architecture="stylegan2"), "card is damaged"),
    ],
)
def test_a_damaged_card_is_refused(path, change, message):
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()[CARD_KEY])
    change(card)
    save_file(load_file(path), path, {CARD_KEY: json.dumps(card)})
    with pytest.raises(GeneratorFileError, match=message):
        read_generator_file(path)


def test_tensors_of_another_shape_are_refused(path):
    tensors = load_file(path)
    tensors["superresolution.block0.conv1.weight"] = torch.ones(6, 5, 3, 3)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata)
    with pytest.raises(GeneratorFileError, match=r"expected \[6, 6, 3, 3\]"):
        read_generator_file(path)


def test_a_stylegan2_file_from_before_there_was_a_number_of_channels_is_read(tmp_path):
    weights = stylegan2_sheet.nvidia_weights()
    config = infer_config({name: tuple(tensor.shape) for name, tensor in weights.items()})
    write_generator_file(tmp_path / "faces.safetensors", weights, GeneratorCard(config))
    with safe_open(tmp_path / "faces.safetensors", framework="pt") as file:
        card = json.loads(file.metadata()[CARD_KEY])
    assert card["config"].pop("channels") == 3 and card["architecture"] == "stylegan2"
    save_file(weights, tmp_path / "faces.safetensors", {CARD_KEY: json.dumps(card)})
    assert read_generator_file(tmp_path / "faces.safetensors").card.config == config


def test_a_stylegan2_of_another_number_of_channels_is_refused():
    weights = stylegan2_sheet.nvidia_weights(resolution=8)
    wide = {
        name: tensor.repeat(2, *[1] * (tensor.ndim - 1)) if re.search(r"torgb\.(weight|bias)", name) else tensor
        for name, tensor in weights.items()
    }
    with pytest.raises(GeneratorFileError, match=r"\[6, 8, 1, 1\], expected \[3, 8, 1, 1\]"):
        infer_config({name: tuple(tensor.shape) for name, tensor in wide.items()})


# --- the command -----------------------------------------------------------------------------------------------------


def test_generate_draws_it_from_the_front(files, tmp_path):
    assert (
        main(
            [
                "generate",
                str(files / "eg3d4.pkl"),
                "--seeds",
                "3",
                "--truncation",
                "0.5",
                "--out",
                str(tmp_path / "head.png"),
            ]
        )
        == 0
    )
    drawn = np.asarray(Image.open(tmp_path / "head.png"), dtype=np.float32) / 127.5 - 1
    expected = build_generator(open_generator_file(files / "eg3d4.pkl"))(latents([3], sheet.Z), psi=0.5)[0].clamp(-1, 1)
    assert np.abs(drawn - expected.permute(1, 2, 0).numpy()).max() <= 0.5 / 127.5 + 1e-5
