"""`train --form side-network` and `sample` with what it writes, on a diffusers folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_command_line import arguments, drawn, held_out, place, said  # noqa: F401 (two are fixtures)

from domain_guidance.__main__ import main
from domain_guidance.commands.info import describe
from domain_guidance.diffusers_host.folder import DiffusersFolder
from domain_guidance.diffusers_host.trainable import base_fingerprint
from domain_guidance.domains.domain_file import read_card
from domain_guidance.runs import RunFiles
from domain_guidance.side_networks import LatentSpace, read_side_file, write_side_file


@pytest.fixture(scope="module")
def side(place):
    """A trained file of the base `sd`."""
    out = place / "sd side"
    assert main(arguments(place, out, form="side-network", steps=30, **{"learning-rate": 5e-3})) == 0
    return out / "domain.safetensors"


def test_training_lowers_the_held_out_loss_and_writes_a_side_network(place, side):
    losses = held_out(side.parent)
    assert losses[-1] < losses[0] - 0.05
    file = read_side_file(side)
    base = DiffusersFolder(str(place / "sd"))
    config = base.vae().config
    assert file.latents == LatentSpace(config.latent_channels, config.scaling_factor)
    assert file.card.base_fingerprint == base_fingerprint(base.unet()) and file.card.base_name == "sd"
    assert torch.equal(file.empty.cross_attn, base.prompt().cross_attn)
    assert file.card.training["trained_steps"] == 30 and file.card.training["held_out_loss"] == losses[-1]
    assert "small correction of what its base answers" in " ".join(describe(read_card(side)))


def test_sdxl_stores_the_pooled_vector_of_its_empty_prompt(place, tmp_path):
    assert main(arguments(place, tmp_path, base="xl", form="side-network")) == 0
    assert read_side_file(tmp_path / "domain.safetensors").empty.pooled_output.shape == (1, 16)


def test_the_same_command_resumes_and_more_steps_end_as_if_asked_for_at_once(place, tmp_path):
    for steps in (4, 6):
        assert main(arguments(place, tmp_path / "parts", form="side-network", steps=steps)) == 0
    assert main(arguments(place, tmp_path / "whole", form="side-network", steps=6)) == 0
    parts, whole = (read_side_file(tmp_path / kind / "domain.safetensors").network for kind in ("parts", "whole"))
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in parts.state_dict().items())


def test_a_run_goes_on_when_a_picture_of_another_shape_becomes_the_first_by_its_name(place, tmp_path):
    images = Path(shutil.copytree(place / "images", tmp_path / "images"))
    Image.effect_noise((32 * 8, 32), 60).save(images / "zz.png")
    assert main(arguments(place, tmp_path / "out", images=images, form="side-network", steps=1)) == 0
    (images / "zz.png").rename(images / "!.png")
    assert main(arguments(place, tmp_path / "out", images=images, form="side-network", steps=2)) == 0
    assert read_side_file(tmp_path / "out" / "domain.safetensors").card.training["trained_steps"] == 2


def test_a_run_of_an_earlier_version_goes_on_and_another_size_is_said_in_words(place, tmp_path, said):
    assert main(arguments(place, tmp_path, form="side-network", steps=1)) == 0
    state = RunFiles(tmp_path, "domain").state
    change_identity(state, "1 level of 64 channels")
    assert main(arguments(place, tmp_path, form="side-network", steps=2)) == 1
    assert "the size of the side network was 1 level of 64 channels and is 1 level of 32 channels" in said.text
    change_identity(state, None)
    assert main(arguments(place, tmp_path, form="side-network", steps=2)) == 0


def change_identity(state, size):
    """Let a saved run say another size of its network, or none."""
    with safe_open(state, "pt") as file:
        metadata = file.metadata()
    record = json.loads(metadata["record"])
    del record["identity"]["the size of the side network"]
    record["identity"] |= {"the size of the side network": size} if size else {}
    save_file(load_file(state), state, {**metadata, "record": json.dumps(record)})


def test_another_form_does_not_go_on_with_its_run(place, tmp_path, said):
    assert main(arguments(place, tmp_path, form="side-network", steps=1)) == 0
    assert main(arguments(place, tmp_path, form="empty-prompt", steps=2)) == 1
    assert "form was side-network and is empty-prompt" in said.text


def test_previews_are_drawn_as_of_every_form(place, tmp_path):
    assert main(arguments(place, tmp_path, form="side-network", steps=2, **{"sample-every": 2})) == 0
    assert len(list(tmp_path.rglob("*.png"))) >= 2


def test_it_is_drawn_from_with_and_without_a_prompt_and_weight_zero_is_the_base(place, side, tmp_path):
    free, asked, off, other_off = (
        drawn(place, side, tmp_path / str(number), "--count", "1", *words)
        for number, words in enumerate(
            ([], ["--prompt", "a plate"], ["--prompt", "a plate", "--weight", "0"], ["--weight", "0"])
        )
    )
    assert free != asked != off and free != other_off
    whole = place / "whole"
    assert main(arguments(place, whole, form="empty-prompt", steps=1)) == 0
    base = drawn(place, whole / "domain.safetensors", tmp_path / "base", "--count", "1", "--weight", "0")
    assert other_off == base


def test_other_latents_are_refused_and_another_base_is_said(place, side, tmp_path, said):
    file = read_side_file(side)
    changed = tmp_path / "other.safetensors"
    space = LatentSpace(file.latents.channels, 0.5)
    write_side_file(changed, file.network, card=file.card, latents=space, empty=file.empty)
    words = ["--base", str(place / "sd"), "--domain", str(changed), "--out", str(tmp_path / "out"), "--count", "1"]
    assert main(["sample", *words]) == 1
    assert "give a base of the family" in said.text
    drawn(place, side, tmp_path / "xl", "--count", "1", base="xl")
    assert "was trained on a different base (sd)" in said.text
