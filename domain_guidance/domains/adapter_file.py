"""The adapter file: a LoRA that ComfyUI's own loader reads, with the card and the empty prompt it was trained with.

Tensors: `diffusion_model.<module>.lora_up.weight`, `.lora_down.weight` and `.alpha` in the host's module names, which
is ComfyUI's generic LoRA naming, and nothing else, of which its loader would warn. Metadata, which that loader hands on
with the
MODEL: the card of a domain file, the empty prompt, and preview pictures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from .card import DomainCard, DomainFileError, card_metadata
from .domain_file import read_checked, write_checked
from .fingerprint import fingerprint
from .prompt import Plain, Prompt, prompt_from, prompt_metadata
from .training_forms import is_adapter

PREFIX = "diffusion_model."
SUFFIXES = (".lora_up.weight", ".lora_down.weight", ".alpha")


@dataclass(frozen=True)
class AdapterFile:
    """A read adapter file. tensors: as named in the file. cross_attn, pooled_output, beside: as of `Prompt`."""

    card: DomainCard
    tensors: dict[str, Tensor]
    cross_attn: Tensor
    pooled_output: Tensor | None = None
    beside: Mapping[str, Plain] = field(default_factory=dict)


def write_adapter_file(
    path: str | os.PathLike,
    tensors: Mapping[str, Tensor],
    *,
    card: DomainCard,
    cross_attn: Tensor,
    pooled_output: Tensor | None = None,
    beside: Mapping[str, Plain] | None = None,
    covers: Sequence[bytes] = (),
) -> None:
    """Writes an adapter file atomically.

    tensors: `<module>.lora_up.weight` [out, rank, ...], `<module>.lora_down.weight` [rank, in, ...] and
    `<module>.alpha` (a scalar; the update is alpha / rank up down), in the host's module names, with or without
    `diffusion_model.` in front.
    cross_attn: the empty prompt [1, T, D]; pooled_output: its pooled vector [1, P]; beside: as of `Prompt`; covers:
    preview pictures, as image files. Raises DomainFileError for another name, no tensor at all or a value that is not
    finite, OSError.
    """
    stored = {PREFIX + name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    if foreign := _foreign(stored):
        raise DomainFileError(f"The adapter's tensor '{foreign[0]}' has an unknown name: train it again.")
    own = replace(card, fingerprint=fingerprint(stored))
    prompt = Prompt(cross_attn, pooled_output, beside or {})
    write_checked(path, stored, card_metadata(own, covers) | prompt_metadata(prompt))


def read_adapter_file(path: str | os.PathLike) -> AdapterFile:
    """Reads an adapter file, on the CPU. Raises DomainFileError if it is none."""
    name = Path(path).name
    card, tensors, metadata = read_checked(path)
    prompt = prompt_from(metadata, name)
    if prompt is None or not tensors or _foreign(tensors):
        if not is_adapter(card):
            raise DomainFileError(
                f"'{name}' is not an adapter that Domain Guidance trained, but a {card.form} domain: give an adapter "
                "here, and this file where domains are read."
            )
        raise DomainFileError(
            f"'{name}' is not an adapter that Domain Guidance trained: load it as an ordinary LoRA, and connect the "
            "encoded empty prompt."
        )
    own = {key: tensor.clone() for key, tensor in tensors.items()}  # a mapped file could not be written over on Windows
    return AdapterFile(card, own, prompt.cross_attn, prompt.pooled_output, prompt.beside)


def merged(weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Host-layout weights with the adapter added: W + alpha / rank up down. tensors: an adapter file's.

    Raises DomainFileError if the adapter belongs to another network.
    """
    result = dict(weights)
    modules = [name.removesuffix(".alpha") for name in tensors if name.endswith(".alpha")]
    for module in modules:
        up, down = tensors[f"{module}.lora_up.weight"].float(), tensors[f"{module}.lora_down.weight"].float()
        key = f"{module.removeprefix(PREFIX)}.weight"
        if key not in result or result[key].numel() != len(up) * down[0].numel():
            raise DomainFileError(
                f"The adapter changes '{key}', which this base lacks or has in another shape: use the "
                "base that it was trained from."
            )
        update = tensors[f"{module}.alpha"] / len(down) * (up.flatten(1) @ down.flatten(1))
        result[key] = (result[key].float() + update.view_as(result[key])).to(result[key].dtype)
    return result


def _foreign(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name for name in tensors if not name.startswith(PREFIX) or not name.endswith(SUFFIXES)]
