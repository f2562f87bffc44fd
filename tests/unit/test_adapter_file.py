"""A trained adapter: a LoRA for every loader, with the empty prompt in its metadata, told from every other LoRA."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from domain_guidance.domains.adapter_file import read_adapter_file, write_adapter_file
from domain_guidance.domains.domain_file import DomainCard, DomainFileError, read_card
from domain_guidance.domains.fingerprint import fingerprint
from domain_guidance.domains.prompt import PROMPT_KEY, prompt_from

CARD = DomainCard(
    form="text-based",
    prediction="epsilon",
    base_fingerprint="0123456789abcdef",
    base_name="toy",
    training={"form": "adapter"},
)
LAYER = "diffusion_model.input_blocks.1.0.in_layers.2"


def metadata_of(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata(), set(file.keys())


@pytest.fixture
def adapter(tmp_path):
    """An adapter file, and the prompt and pooled vector that were stored in it."""
    path, prompt, pooled = tmp_path / "lora.safetensors", torch.randn(1, 77, 8), torch.randn(1, 5)
    tensors = {
        f"{LAYER}.lora_up.weight": torch.ones(4, 2),
        f"{LAYER}.lora_down.weight": torch.ones(2, 4),
        f"{LAYER}.alpha": torch.tensor(2.0),
    }
    write_adapter_file(path, tensors, card=CARD, cross_attn=prompt, pooled_output=pooled, covers=[b"x"])
    return path, prompt, pooled


def test_an_adapter_holds_nothing_but_lora_tensors_and_brings_its_prompt_bit_for_bit(adapter):
    path, prompt, pooled = adapter
    metadata, names = metadata_of(path)
    assert all(name.startswith(LAYER) for name in names) and json.loads(metadata["ssmd_cover_images"])
    file = read_adapter_file(path)
    assert torch.equal(file.cross_attn, prompt) and torch.equal(file.pooled_output, pooled)
    assert (
        file.card == read_card(path) == replace(CARD, fingerprint=fingerprint(file.tensors))
        and file.tensors.keys() == names
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_stored_prompt_keeps_its_type(adapter, dtype):
    path, prompt, _ = adapter
    write_adapter_file(path, read_adapter_file(path).tensors, card=CARD, cross_attn=prompt.to(dtype))
    file = read_adapter_file(path)
    assert (
        torch.equal(file.cross_attn, prompt.to(dtype)) and file.cross_attn.dtype == dtype and file.pooled_output is None
    )


def changed_prompt(path, change):
    metadata, _ = metadata_of(path)
    save_file(load_file(path), path, {**metadata, PROMPT_KEY: change(metadata[PROMPT_KEY])})


@pytest.mark.parametrize(
    "change", [lambda text: text[:-40], lambda text: "*" + text, lambda text: "", lambda text: text[:100]]
)
def test_a_damaged_prompt_of_an_adapter_is_said(adapter, change):
    changed_prompt(adapter[0], change)
    with pytest.raises(DomainFileError, match="empty prompt in 'lora.safetensors' is damaged"):
        read_adapter_file(adapter[0])


def test_a_prompt_of_an_adapter_in_another_shape_is_refused_as_in_a_domain_file(adapter):
    path = adapter[0]
    write_adapter_file(path, read_adapter_file(path).tensors, card=CARD, cross_attn=torch.ones(2, 7, 8))
    with pytest.raises(DomainFileError, match=r"shape \[2, 7, 8\]"):
        read_adapter_file(path)


def test_an_ordinary_lora_is_no_adapter_of_ours(adapter):
    path = adapter[0]
    assert prompt_from(None, "x") is None and prompt_from({"ss_tag": "1"}, "x") is None
    metadata, _ = metadata_of(path)
    save_file(load_file(path), path, {name: text for name, text in metadata.items() if name != PROMPT_KEY})
    with pytest.raises(DomainFileError, match="is not an adapter"):
        read_adapter_file(path)
    save_file(load_file(path), path, {"ss_tag": "1"})
    with pytest.raises(DomainFileError, match="no Domain Guidance card"):
        read_adapter_file(path)


def test_an_adapter_with_nan_is_neither_written_nor_read(adapter):
    path, prompt, _ = adapter
    tensors = {**read_adapter_file(path).tensors, f"{LAYER}.alpha": torch.tensor(float("nan"))}
    with pytest.raises(DomainFileError, match="alpha.* holds NaN or infinity"):
        write_adapter_file(path, tensors, card=CARD, cross_attn=prompt)
    save_file(tensors, path, metadata_of(path)[0])
    with pytest.raises(DomainFileError, match="alpha.* of 'lora.safetensors' holds NaN"):
        read_adapter_file(path)


@pytest.mark.parametrize(
    "rename",
    [lambda name: name.replace("diffusion_model.", "lora_unet_"), lambda name: name.replace("lora_up", "lora_B")],
)
def test_an_adapter_that_another_tool_has_renamed_is_refused_and_not_read_as_nothing(adapter, rename):
    path = adapter[0]
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path, metadata_of(path)[0])
    with pytest.raises(DomainFileError, match="is not an adapter"):
        read_adapter_file(path)
