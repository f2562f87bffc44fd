"""The one-file format: what goes in comes out, and whatever is wrong with a file is said in one sentence before any
use.
"""

import base64
import dataclasses
import json
import os
import stat
import sys
import time

import pytest
import torch
from mapped import is_mapped, needs_maps
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from domain_guidance.domains.card import CARD_KEY, covers_from
from domain_guidance.domains.domain_file import (
    DomainCard,
    DomainFileError,
    read_card,
    read_covers,
    read_domain_file,
    read_without_weights,
    write_domain_file,
)
from domain_guidance.domains.fingerprint import chosen_names, fingerprint
from domain_guidance.domains.prompt import CROSS_ATTN, POOLED
from domain_guidance.files.atomic_file import PART_LIFETIME, save_tensors

CARD = DomainCard(
    form="text-free", prediction="epsilon", base_fingerprint="0123456789abcdef", base_name="toy", training={"steps": 3}
)
BLOCK = "input_blocks.1.1.transformer_blocks.0.attn2."


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(4, 4, generator=generator) for name in ("input_blocks.0.0.weight", BLOCK + "to_q.weight")
    }
    return {**state, BLOCK + "to_v.weight": torch.zeros(4, 4), BLOCK + "to_out.0.bias": torch.ones(4)}


@pytest.fixture
def path(tmp_path, weights):
    path = tmp_path / "cups.safetensors"
    write_domain_file(path, weights, card=CARD, cross_attn=torch.ones(1, 77, 8), pooled_output=torch.ones(1, 5))
    return path


def rewrite(path, change_tensors=None, change_card=None, drop_metadata=False):
    """The same file, damaged on purpose."""
    tensors = load_file(path)
    card = json.loads(json.dumps(read_card(path).__dict__))
    (change_tensors or (lambda t: None))(tensors)
    (change_card or (lambda c: None))(card)
    save_file(tensors, path, None if drop_metadata else {CARD_KEY: json.dumps(card)})


def as_given(card):
    """A read card without what the writer has added."""
    return dataclasses.replace(card, fingerprint="")


def refusal(path):
    with pytest.raises(DomainFileError) as caught:
        read_domain_file(path)
    with pytest.raises(DomainFileError) as without_weights:
        read_without_weights(path)
    message = str(caught.value)
    assert str(without_weights.value) == message
    assert "\n" not in message and message.endswith(".") and path.name in message
    return message


def test_a_written_file_is_read_back_whole(path, weights):
    file = read_domain_file(path)
    assert file.card == read_card(path) and as_given(file.card) == CARD
    assert file.weights.keys() == {f"model.diffusion_model.{name}" for name in weights}
    assert all(torch.equal(file.weights[f"model.diffusion_model.{name}"], tensor) for name, tensor in weights.items())
    assert file.cross_attn.shape == (1, 77, 8) and file.pooled_output.shape == (1, 5)
    card, prompt = read_without_weights(path)
    assert card == file.card and torch.equal(prompt.cross_attn, file.cross_attn)
    assert torch.equal(prompt.pooled_output, file.pooled_output) and prompt.beside.keys() == file.beside.keys()


def test_the_diffusers_layout_keeps_its_own_names(tmp_path):
    path = tmp_path / "d.safetensors"
    card = DomainCard(form="text-based", prediction="flow", base_fingerprint="0", layout="diffusers")
    write_domain_file(path, {"conv_in.weight": torch.ones(2, 2)}, card=card, cross_attn=torch.ones(1, 1, 1))
    assert read_domain_file(path).weights.keys() == {"conv_in.weight"}


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(path, weights, monkeypatch):
    before = path.read_bytes()

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("domain_guidance.files.atomic_file.save_file", full_disk)
    with pytest.raises(OSError):
        write_domain_file(path, weights, card=CARD, cross_attn=torch.zeros(1, 1, 1))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_written_file_may_be_read_by_whom_the_users_files_may(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "file", {"a": torch.ones(2)}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_what_a_killed_writer_left_is_swept_and_what_a_live_one_writes_is_not(tmp_path):
    old, young, other = (tmp_path / name for name in (".a[1].st.0a.part", ".a[1].st.0b.part", ".b.st.0c.part"))
    for part in (old, young, other):
        part.write_bytes(b"half")
    for part in (old, other):
        os.utime(part, (time.time() - 2 * PART_LIFETIME,) * 2)
    save_tensors(tmp_path / "a[1].st", {"a": torch.ones(2)}, {})
    assert not old.exists() and young.exists() and other.exists()


def test_weights_with_nan_are_neither_written_nor_read(path, weights):
    broken = {**weights, "input_blocks.0.0.weight": torch.full((4, 4), float("nan"))}
    with pytest.raises(DomainFileError, match="NaN or infinity"):
        write_domain_file(path, broken, card=CARD, cross_attn=torch.ones(1, 1, 1))

    def poison(tensors):
        tensors["model.diffusion_model.input_blocks.0.0.weight"][0, 0] = float("inf")

    rewrite(path, poison)
    assert "input_blocks.0.0.weight" in refusal(path) and "NaN or infinity" in refusal(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_narrow_weights_are_checked_and_kept_as_they_are(tmp_path, weights, dtype):
    path = tmp_path / "narrow.safetensors"
    narrow = {name: tensor.to(dtype) for name, tensor in weights.items()}
    write_domain_file(path, narrow, card=CARD, cross_attn=torch.ones(1, 1, 1))
    assert all(tensor.dtype == dtype for tensor in read_domain_file(path).weights.values())


def test_a_missing_file(tmp_path):
    assert "There is no domain file" in refusal(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("length", [0, 5, 200, -1])
def test_a_truncated_file(path, length):
    path.write_bytes(path.read_bytes()[:length])
    assert "not a complete safetensors file" in refusal(path)


def test_a_file_that_is_no_safetensors_at_all(path):
    path.write_bytes(b"\x80\x04\x95 a pickle, perhaps" * 50)
    assert "not a complete safetensors file" in refusal(path)


def test_a_checkpoint_without_a_card_is_sent_to_the_stock_loader(path):
    rewrite(path, drop_metadata=True)
    assert "give a file that a training of Domain Guidance wrote, or in ComfyUI load" in refusal(path)
    assert "Load Diffusion Model" in refusal(path)


@pytest.mark.parametrize("card", ["{", "[]", "{}", '{"form": "text-free"}', "[" * 100_000, '{"form": ' + "1" * 5000])
def test_a_damaged_card(path, card):
    save_file(load_file(path), path, {CARD_KEY: card})
    assert "card" in refusal(path).lower()


def test_a_card_of_a_later_format_asks_for_an_update(path):
    rewrite(path, change_card=lambda card: card.update(format_version=2))
    assert "update Domain Guidance" in refusal(path)


@pytest.mark.parametrize(("field", "value"), [("form", "lora"), ("prediction", "sample"), ("layout", "onnx")])
def test_a_card_with_a_value_that_nobody_knows(path, field, value):
    rewrite(path, change_card=lambda card: card.update({field: value}))
    with pytest.raises(DomainFileError, match=f"{field} '{value}', expected one of"):
        read_domain_file(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("training", []),
        ("training", None),
        ("recommended_weight", "2"),
        ("recommended_cfg", None),
        ("base_fingerprint", 3),
        ("base_name", ["toy"]),
        ("guidance", "strong"),
        ("zero_terminal_snr", "no"),
        ("edm_levels", [1.0]),
        ("edm_levels", ["low", "high"]),
        ("key_prefix", None),
    ],
)
def test_a_card_with_a_value_of_another_type(path, field, value):
    rewrite(path, change_card=lambda card: card.update({field: value}))
    assert f"a value of another type than expected as its {field}" in refusal(path)


def test_fields_that_a_later_version_added_are_no_error(path):
    rewrite(path, change_card=lambda card: card.update(previews=["a"]))
    assert as_given(read_domain_file(path).card) == CARD


def test_a_file_without_the_empty_prompt(path):
    rewrite(path, lambda tensors: tensors.pop(CROSS_ATTN))
    assert "no empty-prompt embedding" in refusal(path)


@pytest.mark.parametrize(
    ("key", "shape"), [(CROSS_ATTN, (77, 8)), (CROSS_ATTN, (2, 77, 8)), (POOLED, (5,)), (POOLED, (2, 5))]
)
def test_an_embedding_of_another_shape(path, key, shape):
    rewrite(path, lambda tensors: tensors.update({key: torch.ones(shape)}))
    assert str(list(shape)) in refusal(path)


def test_a_layout_that_the_keys_contradict(path):
    rewrite(path, change_card=lambda card: card.update(layout="diffusers"))
    assert "diffusers layout" in refusal(path)


def test_a_text_free_file_that_reads_text_after_all(path):
    rewrite(path, lambda tensors: tensors.update({f"model.diffusion_model.{BLOCK}to_v.weight": torch.ones(4, 4)}))
    assert "still read the text" in refusal(path)


def base_weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {f"block.{n}.weight": 0.02 * torch.randn(64, 64, generator=generator) for n in range(20)} | {
        "norm.weight": torch.ones(64)
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_one_base_has_one_fingerprint_in_every_precision(dtype):
    weights = base_weights()
    assert fingerprint({name: tensor.to(dtype) for name, tensor in weights.items()}) == fingerprint(weights)


def test_a_fine_tune_and_a_merge_have_fingerprints_of_their_own():
    weights, other = base_weights(), base_weights(1)
    tuned = {name: tensor + 1e-4 * torch.randn_like(tensor) for name, tensor in weights.items()}
    merged = {name: 0.9 * tensor + 0.1 * other[name] for name, tensor in weights.items()}
    assert len({fingerprint(w) for w in (weights, other, tuned, merged)}) == 4


def test_the_fingerprint_looks_at_eight_matrices_spread_over_the_net_and_at_no_vector():
    names = chosen_names(base_weights())
    assert len(names) == 8 and "norm.weight" not in names
    assert fingerprint(base_weights()) == fingerprint({**base_weights(), "norm.weight": torch.zeros(64)})


def metadata_of(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata(), set(file.keys())


def test_preview_pictures_are_where_model_browsers_look_and_not_in_the_card(path, weights):
    covers = (b"a jpeg", b"another")
    write_domain_file(path, weights, card=CARD, cross_attn=torch.ones(1, 1, 1), covers=covers)
    metadata, _ = metadata_of(path)
    assert [base64.b64decode(cover) for cover in json.loads(metadata["ssmd_cover_images"])] == list(covers)
    assert read_covers(path) == covers
    assert len(metadata[CARD_KEY]) < 1000 and as_given(read_card(path)) == CARD


def test_a_file_without_preview_pictures_says_nothing_of_them(path):
    assert "ssmd_cover_images" not in metadata_of(path)[0] and read_covers(path) == ()


@pytest.mark.parametrize("left", ["", "{", "7", "null", '["no base64!"]', "[7]", "[" * 100_000])
def test_preview_pictures_that_another_program_has_damaged_are_no_pictures(left):
    assert covers_from({"ssmd_cover_images": left}) == ()


@pytest.mark.parametrize(
    ("prediction", "zero_snr", "marks"),
    [
        ("epsilon", False, set()),
        ("flow", False, set()),
        ("v_prediction", False, {"v_pred"}),
        ("v_prediction", True, {"v_pred", "ztsnr"}),
    ],
)
def test_a_velocity_model_carries_the_marks_that_comfyuis_loader_reads_and_they_are_no_weights(
    path, weights, prediction, zero_snr, marks
):
    card = dataclasses.replace(CARD, prediction=prediction, zero_terminal_snr=zero_snr)
    write_domain_file(path, weights, card=card, cross_attn=torch.ones(1, 1, 1))
    prefix = "model.diffusion_model."
    assert metadata_of(path)[1] == {prefix + name for name in {*weights, *marks}} | {CROSS_ATTN}
    file = read_domain_file(path)
    assert as_given(file.card) == card and file.weights.keys() == {prefix + name for name in weights}


def test_the_card_names_the_weights_of_its_own_file(tmp_path, path, weights):
    other = tmp_path / "other.safetensors"
    write_domain_file(
        other,
        {**weights, "input_blocks.0.0.weight": -weights["input_blocks.0.0.weight"]},
        card=CARD,
        cross_attn=torch.ones(1, 77, 8),
    )
    again = tmp_path / "again.safetensors"
    write_domain_file(again, weights, card=read_card(other), cross_attn=torch.zeros(1, 77, 8))
    assert read_card(path).fingerprint == fingerprint(read_domain_file(path).weights)
    assert read_card(path).fingerprint == read_card(again).fingerprint != read_card(other).fingerprint


def test_a_domain_for_a_free_name_replaces_no_file(path, weights):
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_domain_file(path, weights, card=CARD, cross_attn=torch.zeros(1, 77, 8), free=True)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]
    write_domain_file(path.with_name("free"), weights, card=CARD, cross_attn=torch.zeros(1, 77, 8), free=True)
    assert read_card(path.with_name("free")) == read_card(path)


@needs_maps
def test_a_prompt_that_is_kept_does_not_hold_on_to_its_file(path):
    file = read_domain_file(path)
    assert is_mapped(path), "the weights are not copied, for they may take many GB"
    kept = file.cross_attn, file.pooled_output
    del file
    assert not is_mapped(path) and kept[0].shape == (1, 77, 8)


def test_everything_a_text_encoder_puts_out_comes_back(path):
    beside = {"attention_mask": torch.ones(1, 3, dtype=torch.long), "unprocessed": True, "tokens": 3, "kind": "t5"}
    write_domain_file(path, {"x.weight": torch.ones(2, 2)}, card=CARD, cross_attn=torch.ones(1, 3, 8), beside=beside)
    found = read_domain_file(path).beside
    assert torch.equal(found["attention_mask"], beside["attention_mask"])
    assert {key: value for key, value in found.items() if key != "attention_mask"} == {
        key: value for key, value in beside.items() if key != "attention_mask"
    }


def test_no_weights_are_not_written(tmp_path):
    with pytest.raises(DomainFileError, match="There are no weights"):
        write_domain_file(tmp_path / "none.safetensors", {}, card=CARD, cross_attn=torch.ones(1, 1, 1))
    assert not list(tmp_path.iterdir())


def test_a_family_with_another_prefix_is_written_and_read_under_it(path):
    card = dataclasses.replace(CARD, key_prefix="model.model.")
    write_domain_file(path, {"x.weight": torch.ones(2, 2)}, card=card, cross_attn=torch.ones(1, 1, 1))
    assert list(read_domain_file(path).weights) == ["model.model.x.weight"]


def test_continuous_levels_are_marked_as_the_host_marks_them(path):
    card = dataclasses.replace(CARD, prediction="v_prediction", edm_levels=(0.002, 120.0))
    write_domain_file(path, {"x.weight": torch.ones(2, 2)}, card=card, cross_attn=torch.ones(1, 1, 1))
    with safe_open(path, framework="pt") as file:
        marks = {name: float(file.get_tensor(name)) for name in file.keys() if "edm" in name}
    assert marks == {
        "model.diffusion_model.edm_vpred.sigma_min": pytest.approx(0.002),
        "model.diffusion_model.edm_vpred.sigma_max": 120.0,
    }
    assert list(read_domain_file(path).weights) == ["model.diffusion_model.x.weight"]
    assert tuple(read_card(path).edm_levels) == (0.002, 120.0)


def test_a_file_that_lost_a_tensor_on_its_way_to_the_disk_is_not_called_written(path, monkeypatch):
    module = sys.modules[write_domain_file.__module__]
    save = module.save_tensors
    monkeypatch.setattr(
        module,
        "save_tensors",
        lambda path, tensors, metadata, free: save(path, dict(list(tensors.items())[1:]), metadata, free=free),
    )
    with pytest.raises(DomainFileError, match="does not hold what was written"):
        write_domain_file(path, {"x.weight": torch.ones(2, 2)}, card=CARD, cross_attn=torch.ones(1, 1, 1))
