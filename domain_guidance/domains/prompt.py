"""An encoded prompt, and how a domain's file keeps the empty one that it was trained with.

A full network's file keeps tensors, which loaders of networks pass over. A LoRA's file keeps text: its loader warns of
every tensor that it does not know, and hands the metadata on.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .card import DomainFileError

CROSS_ATTN = "domain.cross_attn"
POOLED = "domain.pooled_output"
PROMPT_KEY = "domain_guidance.empty_prompt"


@dataclass(frozen=True)
class Prompt:
    """A text encoder's output: cross_attn [1, T, D], and pooled_output [1, P] of families that have one (SDXL)."""

    cross_attn: Tensor
    pooled_output: Tensor | None = None


def prompt_tensors(cross_attn: Tensor, pooled_output: Tensor | None) -> dict[str, Tensor]:
    """The empty prompt [1, T, D] and its pooled vector [1, P] under the names that files give them."""
    tensors = {CROSS_ATTN: cross_attn} | ({} if pooled_output is None else {POOLED: pooled_output})
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def take_prompt(tensors: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor | None]:
    """Take the empty prompt and its pooled vector out of a file's tensors. name: the file's. Raises DomainFileError."""
    cross_attn, pooled = tensors.pop(CROSS_ATTN, None), tensors.pop(POOLED, None)
    if cross_attn is None:
        raise DomainFileError(
            f"'{name}' holds no empty-prompt embedding ({CROSS_ATTN}): save it again with its text encoder or "
            "the encoded empty prompt connected."
        )
    if cross_attn.ndim != 3 or cross_attn.shape[0] != 1:
        raise DomainFileError(
            f"The empty prompt in '{name}' has shape {list(cross_attn.shape)}, expected [1, tokens, width]: save "
            "the file again."
        )
    if pooled is not None and (pooled.ndim != 2 or pooled.shape[0] != 1):
        raise DomainFileError(
            f"The pooled vector in '{name}' has shape {list(pooled.shape)}, expected [1, width]: save the file again."
        )
    return cross_attn, pooled


def prompt_metadata(cross_attn: Tensor, pooled_output: Tensor | None) -> dict[str, str]:
    """The empty prompt as metadata, the base64 of a small safetensors file."""
    return {PROMPT_KEY: base64.b64encode(save(prompt_tensors(cross_attn, pooled_output))).decode()}


def prompt_from(metadata: Mapping[str, str] | None, name: str) -> tuple[Tensor, Tensor | None] | None:
    """The inverse of `prompt_metadata`; None where the metadata hold no prompt.

    Raises DomainFileError if it is damaged.
    """
    if metadata is None or PROMPT_KEY not in metadata:
        return None
    try:
        tensors = load(base64.b64decode(metadata[PROMPT_KEY], validate=True))
    except (binascii.Error, SafetensorError) as error:
        raise DomainFileError(
            f"The empty prompt in '{name}' is damaged ({error}): download or copy the file again."
        ) from error
    return take_prompt(tensors, name)
