"""The adapter file: a LoRA that ComfyUI's own loader reads, with the card and the empty prompt it was trained with.

Tensors: `diffusion_model.<module>.lora_up.weight`, `.lora_down.weight` and `.alpha` in the host's module names, which is
ComfyUI's generic LoRA naming; `domain.cross_attn` and, where the family has one, `domain.pooled_output`, as in a domain file.
ComfyUI's loader says of the last two that it does not use them. Metadata: the card of a domain file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from ..domain_file import CARD_KEY, CROSS_ATTN, POOLED, DomainCard, DomainFileError, read_card
from .state import save_tensors

PREFIX = "diffusion_model."
SUFFIXES = (".lora_up.weight", ".lora_down.weight", ".alpha")


@dataclass(frozen=True)
class AdapterFile:
    """A read adapter file. tensors: as named in the file, without the `domain.` tensors."""

    card: DomainCard
    tensors: dict[str, Tensor]
    cross_attn: Tensor
    pooled_output: Tensor | None = None


def write_adapter_file(
    path: str | os.PathLike,
    tensors: Mapping[str, Tensor],
    *,
    card: DomainCard,
    cross_attn: Tensor,
    pooled_output: Tensor | None = None,
) -> None:
    """Writes an adapter file atomically.

    tensors: `<module>.lora_up.weight` [out, rank, ...], `<module>.lora_down.weight` [rank, in, ...] and `<module>.alpha` (a
    scalar; the update is alpha / rank up down), in the host's module names, with or without `diffusion_model.` in front.
    cross_attn: the empty prompt [1, T, D]; pooled_output: its pooled vector [1, P]. Raises DomainFileError for another name
    or a value that is not finite.
    """
    stored = {PREFIX + name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    for name, tensor in stored.items():
        if not name.endswith(SUFFIXES) or not tensor.isfinite().all():
            raise DomainFileError(f"The adapter's tensor '{name}' has an unknown name or holds NaN or infinity: train it again.")
    stored[CROSS_ATTN] = cross_attn
    if pooled_output is not None:
        stored[POOLED] = pooled_output
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.items()}
    save_tensors(path, whole, {CARD_KEY: json.dumps(asdict(card), sort_keys=True)})


def read_adapter_file(path: str | os.PathLike) -> AdapterFile:
    """Reads an adapter file, on the CPU. Raises DomainFileError if it is none."""
    card, tensors = read_card(path), load_file(path)
    cross_attn, pooled = tensors.pop(CROSS_ATTN, None), tensors.pop(POOLED, None)
    foreign = [name for name in tensors if not name.startswith(PREFIX) or not name.endswith(SUFFIXES)]
    if cross_attn is None or foreign or not tensors:
        raise DomainFileError(
            f"'{Path(path).name}' is no adapter that Domain Guidance trained: load it as an ordinary LoRA, and connect the encoded "
            "empty prompt."
        )
    return AdapterFile(card, tensors, cross_attn, pooled)


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
            raise DomainFileError(f"The adapter changes '{key}', which this base has not or in another shape: give its own base.")
        update = tensors[f"{module}.alpha"] / len(down) * (up.flatten(1) @ down.flatten(1))
        result[key] = (result[key].float() + update.view_as(result[key])).to(result[key].dtype)
    return result
