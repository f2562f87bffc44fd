"""The generator file: what goes in comes out, whatever is wrong is said in one sentence, and the two commands on it."""

import errno
import json
import logging

import numpy as np
import pytest
import sheet
import torch
from mapped import is_mapped, needs_maps
from PIL import Image
from safetensors.torch import load_file, save_file

from domain_guidance.__main__ import main
from domain_guidance.generators import (
    GeneratorCard,
    GeneratorFileError,
    Origin,
    build_generator,
    convert,
    infer_config,
    latents,
    open_generator_file,
    read_generator_card,
    read_generator_file,
    write_generator_file,
)
from domain_guidance.generators.generator_file import CARD_KEY

TRAINING = {"prompt": "a sketch", "steps": 300, "weights": [1.0, 7.5]}


def config_of(weights):
    return infer_config({name: tuple(tensor.shape) for name, tensor in weights.items()}, conv_clamp=256)


@pytest.fixture
def weights():
    return sheet.nvidia_weights()


@pytest.fixture
def card(weights):
    return GeneratorCard(
        config_of(weights), Origin("faces.pkl", "0" * 64, "NVIDIA PyTorch pickle", ("mapping.w_avg",)), TRAINING
    )


@pytest.fixture
def path(tmp_path, weights, card):
    path = tmp_path / "faces.safetensors"
    write_generator_file(path, weights, card)
    return path


def rewrite(path, change_tensors=lambda tensors: None, change_card=lambda card: None, metadata=None):
    """The same file, damaged on purpose."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()[CARD_KEY])
    tensors = load_file(path)
    change_tensors(tensors)
    change_card(card)
    save_file(tensors, path, {CARD_KEY: json.dumps(card)} if metadata is None else metadata)


def refusal(path, read=read_generator_file):
    with pytest.raises(GeneratorFileError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and path.name in message and len(message) < 300
    return message


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_written_file_is_read_back_whole(path, weights, card):
    file = read_generator_file(path)
    assert file.card == card == read_generator_card(path)
    assert file.weights.keys() == weights.keys()
    assert all(torch.equal(file.weights[name], tensor) for name, tensor in weights.items())


def test_a_network_and_its_file_draw_the_same_picture(path, tmp_path):
    generator = build_generator(open_generator_file(path))
    assert not generator.training and not any(parameter.requires_grad for parameter in generator.parameters())
    assert generator.config.conv_clamp == 256
    write_generator_file(tmp_path / "again.safetensors", generator.state_dict(), read_generator_card(path))
    z = latents([1, 2], sheet.Z)
    assert torch.equal(generator(z), build_generator(read_generator_file(tmp_path / "again.safetensors"))(z))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_weights_are_kept_and_computed_with_in_float32(path, weights, card, dtype):
    write_generator_file(path, {name: tensor.to(dtype) for name, tensor in weights.items()}, card)
    file = read_generator_file(path)
    assert all(tensor.dtype == dtype for tensor in file.weights.values())
    assert build_generator(file)(latents([0], sheet.Z)).dtype == torch.float32


def test_converting_a_generator_file_keeps_all_of_its_card(path, tmp_path, card):
    assert convert(path, tmp_path / "copy.safetensors") == card == read_generator_card(tmp_path / "copy.safetensors")


@needs_maps
def test_what_is_read_does_not_hold_on_to_its_file_so_that_the_file_can_be_replaced(path, weights):
    mapped = load_file(path)
    assert is_mapped(path), "this is how it would be seen"
    del mapped
    file = read_generator_file(path)
    generator = build_generator(file)
    assert not is_mapped(path)
    assert torch.equal(generator.state_dict()["mapping.w_avg"], weights["mapping.w_avg"])


def test_a_generator_for_a_free_name_replaces_no_file(path, weights, card):
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_generator_file(path, {name: tensor + 1 for name, tensor in weights.items()}, card, free=True)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("itself", [True, False], ids=["itself", "another file"])
def test_a_conversion_replaces_no_file(path, tmp_path, itself):
    target = path if itself else tmp_path / "theirs.safetensors"
    target.write_bytes(before := path.read_bytes() if itself else b"theirs")
    with pytest.raises(GeneratorFileError, match=f"'{target.name}' exists already, and is kept: name another"):
        convert(path, target)
    assert target.read_bytes() == before


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(path, weights, card, monkeypatch):
    before = path.read_bytes()

    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("domain_guidance.files.atomic_file.save_file", full_disk)
    with pytest.raises(OSError):
        write_generator_file(path, {name: tensor + 1 for name, tensor in weights.items()}, card)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_weights_that_are_not_the_cards_are_not_written(path, weights, card):
    before = path.read_bytes()
    broken = {**weights, "synthesis.b4.const": torch.full((8, 4, 4), float("nan"))}
    assert "'synthesis.b4.const' holds NaN" in refusal(path, lambda p: write_generator_file(p, broken, card))
    less = {name: tensor for name, tensor in weights.items() if name != "mapping.w_avg"}
    assert "'mapping.w_avg' is missing" in refusal(path, lambda p: write_generator_file(p, less, card))
    small = sheet.nvidia_weights(resolution=16)
    assert "other sizes" in refusal(path, lambda p: write_generator_file(p, small, card))
    assert path.read_bytes() == before


def test_tensors_of_a_file_are_checked_when_it_is_read(path):
    def poison(tensors):
        tensors["synthesis.b8.conv0.weight"][0, 0, 0, 0] = float("inf")

    rewrite(path, poison)
    assert "'synthesis.b8.conv0.weight' holds NaN or infinity" in refusal(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({"synthesis.b8.skip.weight": torch.ones(1)}), "'synthesis.b8.skip.weight' belongs to no"),
        (lambda t: t.pop("synthesis.b8.conv1.noise_const"), "'synthesis.b8.conv1.noise_const' is missing"),
        (lambda t: t.update({"mapping.w_avg": torch.ones(13)}), r"'mapping.w_avg' has shape [13], expected [12]"),
        (lambda t: t.update({"mapping.w_avg": torch.ones(12, dtype=torch.int64)}), "torch.int64, expected float32"),
        (lambda t: t.update({"synthesis.b4.conv1.weight": torch.ones(8)}), "has shape [8], expected 4 axes"),
        (lambda t: t.pop("mapping.fc0.weight"), "'mapping.fc0.weight' is missing"),
        (lambda t: t.clear(), "its blocks are of [] pixels"),
    ],
)
def test_a_file_with_other_tensors_is_refused(path, change, message):
    rewrite(path, change)
    assert message in refusal(path)


def test_a_file_of_thousands_of_blocks_is_refused_in_a_sentence(path):
    rewrite(
        path,
        lambda tensors: tensors.update({f"synthesis.b{pixels}.conv1.weight": torch.ones(1) for pixels in range(5000)}),
    )
    assert "expected 4, 8, ... up to 1024" in refusal(path) and len(refusal(path)) < 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=2), "update Domain Guidance"),
        (lambda c: c.update(architecture="stylegan\n9"), r"'stylegan\n9'"),
        (lambda c: c.update(architecture="x" * 10_000), "xxx, this reads"),
        (lambda c: c.update(config=None), "card is damaged"),
        (lambda c: c.pop("config"), "card is damaged"),
        (lambda c: c["config"].update(widths=7), "card is damaged"),
        (lambda c: c["config"].update(resolution=64), "other sizes"),
        (lambda c: c["config"].update(conv_clamp="256"), "card is damaged"),
        (lambda c: c["config"].update(conv_clamp=-1), "card is damaged"),
        (lambda c: c.update(origin=[]), "card is damaged"),
        (lambda c: c["origin"].update(name=7), "card is damaged"),
        (lambda c: c.update(origin="x"), "card is damaged"),
        (lambda c: c.update(training=[1]), "card is damaged"),
    ],
)
def test_a_damaged_card_is_refused(path, change, message):
    rewrite(path, change_card=change)
    assert message in refusal(path)


@pytest.mark.parametrize("text", ["{", "[]", "null", '"text"', pytest.param("[" * 100_000, id="deep")])
def test_a_card_that_is_no_object(path, text):
    rewrite(path, metadata={CARD_KEY: text})
    assert "card is damaged" in refusal(path)


def test_fields_that_a_later_version_added_are_no_error(path, card):
    rewrite(
        path,
        change_card=lambda c: (c.update(previews=["a"]), c["config"].update(more=1), c["origin"].update(author="x")),
    )
    assert read_generator_file(path).card == card


@pytest.mark.parametrize("metadata", [{}, {"domain_guidance": "{}"}])
def test_a_safetensors_file_of_something_else(path, metadata):
    rewrite(path, metadata=metadata or {"format": "pt"})
    assert "not of a generator" in refusal(path)
    assert "not of a generator" in refusal(path, open_generator_file)


@pytest.mark.parametrize("length", [0, 5, 200, -1])
def test_a_truncated_file(path, length):
    path.write_bytes(path.read_bytes()[:length])
    assert "not a complete safetensors file" in refusal(path)


def test_a_missing_file(tmp_path):
    assert "There is no generator file" in refusal(tmp_path / "nowhere.safetensors")


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path, weights):
    state, mean = sheet.rosinality(weights)
    torch.save({"g_ema": state, "latent_avg": mean}, tmp_path / "faces.pt")
    return tmp_path / "faces.pt"


def picture(path):
    return np.asarray(Image.open(path), dtype=np.float32) / 127.5 - 1


def test_convert_and_generate_draw_each_seed_alone(checkpoint, tmp_path):
    assert main(["convert", str(checkpoint), str(tmp_path / "faces.safetensors")]) == 0
    out = tmp_path / "drawn"
    assert (
        main(
            [
                "generate",
                str(tmp_path / "faces.safetensors"),
                "--seeds",
                "3,7-8",
                "--truncation",
                "0.5",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert sorted(path.name for path in out.iterdir()) == ["seed000003.png", "seed000007.png", "seed000008.png"]
    expected = build_generator(open_generator_file(checkpoint))(latents([7], sheet.Z), psi=0.5)[0].clamp(-1, 1)
    difference = np.abs(picture(out / "seed000007.png") - expected.permute(1, 2, 0).numpy())
    assert difference.max() <= 0.5 / 127.5 + 1e-5


def test_generate_draws_all_seeds_into_one_picture_straight_from_a_foreign_file(checkpoint, tmp_path):
    assert main(["generate", str(checkpoint), "--seeds", "0-4", "--out", str(tmp_path / "new" / "grid.png")]) == 0
    grid = picture(tmp_path / "new" / "grid.png")
    assert grid.shape == (2 * sheet.RESOLUTION, 3 * sheet.RESOLUTION, 3)
    expected = build_generator(open_generator_file(checkpoint))(latents([3], sheet.Z), psi=0.7)[0].clamp(-1, 1)
    assert (
        np.abs(grid[sheet.RESOLUTION :, : sheet.RESOLUTION] - expected.permute(1, 2, 0).numpy()).max()
        <= 0.5 / 127.5 + 1e-5
    )


def test_generate_knows_labels(tmp_path):
    weights = sheet.nvidia_weights(classes=sheet.CLASSES)
    path = tmp_path / "classes.safetensors"
    write_generator_file(path, weights, GeneratorCard(config_of(weights)))
    for label in (0, 1):
        assert (
            main(
                ["generate", str(path), "--seeds", "1", "--label", str(label), "--out", str(tmp_path / f"{label}.png")]
            )
            == 0
        )
    assert not np.array_equal(picture(tmp_path / "0.png"), picture(tmp_path / "1.png"))


def test_convert_says_what_it_wrote_and_what_it_had_to_make(tmp_path, weights, caplog):
    caplog.set_level(logging.INFO)
    bare = {name: tensor for name, tensor in sheet.rosinality(weights)[0].items() if not name.startswith("noises")}
    torch.save({"g_ema": bare}, tmp_path / "bare.pt")
    assert main(["convert", str(tmp_path / "bare.pt"), str(tmp_path / "bare.safetensors")]) == 0
    assert "a generator of 32 px from 'bare.pt', rosinality checkpoint" in caplog.text
    assert "holds 8 tensors that its source did not" in caplog.text
    write_generator_file(tmp_path / "own.safetensors", weights, GeneratorCard(config_of(weights)))
    assert main(["convert", str(tmp_path / "own.safetensors"), str(tmp_path / "copy.safetensors")]) == 0
    assert "from 'own.safetensors'" in caplog.text


def test_fresh_noise_follows_from_the_seed(checkpoint, tmp_path):
    for name, noise in (("a", "random"), ("b", "random"), ("c", "const")):
        assert (
            main(
                [
                    "generate",
                    str(checkpoint),
                    "--seeds",
                    "1-2",
                    "--noise",
                    noise,
                    "--out",
                    str(tmp_path / f"{name}.png"),
                ]
            )
            == 0
        )
    a, b, c = (picture(tmp_path / f"{name}.png") for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize("label", ["0", "5", "-1"])
def test_a_label_that_the_generator_does_not_know(checkpoint, tmp_path, label, caplog):
    assert (
        main(["generate", str(checkpoint), "--seeds", "1", f"--label={label}", "--out", str(tmp_path / "x.png")]) == 1
    )
    assert f"Label {label} was given, but the generator has no classes" in caplog.text


@pytest.mark.parametrize("text", ["", "a", "3-", "5-3", "-1", "1,,2", "0-99999999999", str(2**64)])
def test_seeds_that_are_none(text, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["generate", "x", f"--seeds={text}", "--out", str(tmp_path)])
    assert "seeds" in capsys.readouterr().err


def test_a_refused_file_ends_the_command_in_one_sentence_and_leaves_nothing(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "bad.pkl").write_bytes(b"\x80\x04cos\nsystem\n." + bytes(64))
    assert main(["convert", str(tmp_path / "bad.pkl"), str(tmp_path / "out.safetensors")]) == 1
    assert "'bad.pkl' is refused: its pickle asks for 'os.system'" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pkl"]


def test_a_place_that_the_disk_refuses_is_named_in_one_sentence(path, tmp_path, caplog):
    (tmp_path / "taken").write_text("a file, not a folder")
    for words in (
        ["convert", path, tmp_path / "taken" / "x.safetensors"],
        ["generate", path, "--seeds", "1", "--out", tmp_path / "taken" / "pictures"],
        ["generate", path, "--seeds", "1", "--out", tmp_path / "taken" / "x.png"],
    ):
        caplog.clear()
        assert main([*map(str, words)]) == 1
        (stopped,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
        assert (
            str(tmp_path / "taken") in stopped
            and "\n" not in stopped
            and ("File exists" in stopped or "Not a directory" in stopped)
        )


def test_a_full_disk_is_said_though_the_system_names_no_file(path, tmp_path, caplog, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    assert main(["generate", str(path), "--seeds", "1", "--out", str(tmp_path / "x.png")]) == 1
    assert "Stopped: A file cannot be read or written (No space left on device)" in caplog.text


def test_an_error_that_is_not_the_disks_is_not_taken_for_one(path, tmp_path, monkeypatch):
    def wrong(*_, **__):
        raise OSError("cannot write mode F as PNG")

    monkeypatch.setattr(Image.Image, "save", wrong)
    with pytest.raises(OSError, match="mode F"):
        main(["generate", str(path), "--seeds", "1", "--out", str(tmp_path / "x.png")])


@pytest.mark.parametrize("name", ["pic.jpg", "pic.JPEG", "pics.zip", "pic.png.webp"])
def test_a_picture_of_another_format_makes_no_folder_of_its_name(path, tmp_path, caplog, name):
    before = {*tmp_path.iterdir()}
    assert main(["generate", str(path), "--seeds", "1", "--out", str(tmp_path / name)]) == 1
    assert f"--out is '{name}': name a .png for all in one picture, or a folder" in caplog.text
    assert {*tmp_path.iterdir()} == before


def test_a_folder_that_is_there_may_have_any_name(path, tmp_path):
    (tmp_path / "psi0.7").mkdir()
    assert main(["generate", str(path), "--seeds", "1", "--out", str(tmp_path / "psi0.7")]) == 0
    assert [file.name for file in (tmp_path / "psi0.7").iterdir()] == ["seed000001.png"]
