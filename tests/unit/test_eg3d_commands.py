"""The generate command on EG3D files: views, what lies beside them, meshes, and what is said of options that do not
fit.
"""

import re
import signal
from dataclasses import replace

import eg3d_sheet
import numpy as np
import pytest
import sheet
import torch
from eg3d_surfaces import surfaces
from PIL import Image

from domain_guidance.__main__ import main
from domain_guidance.commands.views import ply, poses
from domain_guidance.generators import (
    GeneratorCard,
    build_generator,
    infer_config,
    latents,
    read_generator_file,
    write_generator_file,
)
from domain_guidance.generators.eg3d import Mesh, Rendering, extract_mesh, grid, orbit
from domain_guidance.generators.eg3d.decoder import Decoder
from domain_guidance.generators.eg3d.mesh import POINTS


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    generator, _ = surfaces(seed=1, sharpness=20.0, rendering=Rendering(resolution=8, samples=6, importance_samples=4))
    path = tmp_path_factory.mktemp("eg3d") / "head.safetensors"
    write_generator_file(path, generator.float().state_dict(), GeneratorCard(generator.config))
    return path


def generate(*words):
    return main(["generate", *map(str, words)])


def picture(path):
    return np.asarray(Image.open(path), dtype=np.float32) / 127.5 - 1


def test_an_orbit_is_a_folder_of_frames_with_depth_and_normals_beside_them(head, tmp_path):
    assert generate(head, "--seeds", "3-4", "--camera", "orbit:3", "--depth", "--normals", "--out", tmp_path) == 0
    kinds = ("", "-depth", "-normals")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"seed{s:06d}-{n:04d}{kind}.png" for s in (3, 4) for n in range(3) for kind in kinds
    }
    generator = build_generator(read_generator_file(head))
    ws = generator.styles(latents([4], eg3d_sheet.Z), psi=0.7)
    expected = generator.synthesis(ws, generator.cameras(orbit(3)[2:]))[0].clamp(-1, 1).permute(1, 2, 0).numpy()
    assert np.abs(picture(tmp_path / "seed000004-0002.png") - expected).max() <= 0.5 / 127.5 + 1e-4
    assert picture(tmp_path / "seed000004-0002-depth.png").shape == (8, 8, 3)
    lengths = np.linalg.norm(picture(tmp_path / "seed000003-0000-normals.png"), axis=-1)
    assert np.abs(lengths - 1).max() < 0.02


def test_one_view_is_named_by_its_seed_alone_and_a_grid_is_one_picture(head, tmp_path):
    assert (
        generate(head, "--seeds", "3", "--camera", "20,-5", "--rays", "4", "--samples", "3", "--out", tmp_path / "one")
        == 0
    )
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["seed000003.png"]
    assert generate(head, "--seeds", "3", "--camera", "grid:2x2", "--out", tmp_path / "grid.png") == 0
    assert picture(tmp_path / "grid.png").shape == (64, 64, 3)


def test_a_mesh_lies_beside_the_pictures(head, tmp_path):
    assert (
        generate(head, "--seeds", "3", "--truncation", "1", "--mesh", "16", "--density", "0.5", "--out", tmp_path) == 0
    )
    assert {path.name for path in tmp_path.iterdir()} == {"seed000003.png", "seed000003.ply"}
    generator = build_generator(read_generator_file(head))
    mesh = extract_mesh(
        generator, generator.planes(generator.styles(latents([3], eg3d_sheet.Z))), resolution=16, level=0.5
    )
    assert (tmp_path / "seed000003.ply").read_bytes() == ply(mesh)


def test_a_stop_is_heard_within_a_mesh(head, tmp_path, monkeypatch):
    """Between the parts of its grid: the first signal only makes `check` raise."""
    parts, original = [], Decoder.forward

    def decode(self, features):
        if features.ndim == 3 and features.shape[1] == POINTS:
            parts.append(1)
            signal.raise_signal(signal.SIGINT)
        return original(self, features)

    monkeypatch.setattr(Decoder, "forward", decode)
    assert generate(head, "--seeds", "3", "--mesh", "96", "--density", "0.5", "--out", tmp_path) == 130
    assert len(parts) == 1 and not list(tmp_path.glob("*.ply"))


def test_rays_and_samples_are_those_that_are_asked_for_and_otherwise_the_files():
    own = Rendering(resolution=8, samples=6, importance_samples=4, near=2.0, white=True)
    assert own.at() == own
    assert own.at(rays=5) == replace(own, resolution=5)
    assert own.at(samples=7) == replace(own, samples=7, importance_samples=7)
    with pytest.raises(ValueError, match="0 px"):
        own.at(rays=0)


def test_a_ply_file_holds_the_mesh():
    mesh = Mesh(
        torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2.5, 0]]),
        torch.tensor([[0, 1, 2]]),
        torch.tensor([[1.0, 0, 0], [0, 0.5, 0], [0, 0, 1]]),
    )
    head, _, body = ply(mesh).partition(b"end_header\n")
    assert (
        head.splitlines()[:3] == [b"ply", b"format binary_little_endian 1.0", b"element vertex 3"]
        and b"element face 1" in head
    )
    assert len(body) == 3 * 15 + 13
    assert (
        np.frombuffer(body[30:42], "<f4").tolist() == [0, 2.5, 0]
        and list(body[42:45]) == [0, 0, 255]
        and list(body[27:30]) == [0, 128, 0]
    )
    assert body[45] == 3 and np.frombuffer(body[46:], "<i4").tolist() == [0, 1, 2]


def test_help_says_how_a_camera_to_the_left_is_written_and_it_is_drawn(head, tmp_path, capsys):
    with pytest.raises(SystemExit):
        generate("--help")
    (written,) = re.findall(r"--camera=\S+", " ".join(capsys.readouterr().out.split()))
    assert poses(written.removeprefix("--camera="))[0, 0] < 0
    assert generate(head, written, "--seeds", "1", "--out", tmp_path / "left") == 0
    assert (tmp_path / "left" / "seed000001.png").exists()


def test_cameras_by_name():
    assert torch.equal(poses("orbit:5"), orbit(5)) and torch.equal(poses("grid:2x3"), grid(2, 3))
    torch.testing.assert_close(poses("90,-45"), torch.tensor([[torch.pi / 2, -torch.pi / 4]]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orbit",
        "orbit:0",
        "orbit:x",
        "orbit:2x3",
        "grid:3",
        "grid:0x3",
        "grid:9999x9999",
        "1",
        "1,2,3",
        "0,90",
        "nan,0",
        "a,b",
    ],
)
def test_cameras_that_are_none(text, head, tmp_path, capsys):
    with pytest.raises(SystemExit):
        generate(head, f"--camera={text}", "--out", tmp_path)
    assert "is not a choice of cameras" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "3"], "takes a camera instead"),
        (["--mesh", "1"], "2 to 512"),
        (["--depth", "--out", "x.png"], "--depth writes files beside"),
        (["--rays", "0"], "1 to 1024"),
        (["--samples", "1"], "2 to 1024"),
        (["--mesh", "8", "--density", "1e9"], "lower level"),
    ],
)
def test_options_that_do_not_fit_are_said_in_one_sentence(head, tmp_path, words, message, caplog):
    assert generate(head, "--seeds", "1", "--out", tmp_path, *words) == 1
    assert message in caplog.text


@pytest.mark.parametrize("words", [["--camera", "orbit:2"], ["--rays", "8"], ["--normals"], ["--mesh", "8"]])
def test_a_generator_of_pictures_has_no_views(tmp_path, words, caplog):
    weights = sheet.nvidia_weights()
    path = tmp_path / "faces.safetensors"
    write_generator_file(
        path, weights, GeneratorCard(infer_config({name: tuple(tensor.shape) for name, tensor in weights.items()}))
    )
    assert generate(path, "--seeds", "1", "--out", tmp_path / "out", *words) == 1
    assert f"{words[0]} needs a 3D generator, and this one is flat" in caplog.text
