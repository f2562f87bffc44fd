"""An encoded prompt, and how a domain's file keeps the empty one that it was trained with.

A full network's file keeps tensors, which loaders of networks pass over. A LoRA's file keeps text: its loader warns of
every tensor that it does not know, and hands the metadata on. Numbers and words are in the metadata of both.

Text encoders put ever more beside the embedding (masks, token numbers, a second encoder's states), so all of it is
kept, under the names that the host gives it. Files from before that have the embedding and the pooled vector alone.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .card import DomainFileError

CROSS_ATTN = "domain.cross_attn"
POOLED = "domain.pooled_output"
BESIDE = "domain.prompt."  # and the host's name of what stands beside the embedding
PROMPT_KEY = "domain_guidance.empty_prompt"
VALUES_KEY = "domain_guidance.empty_prompt_values"

Plain = Tensor | bool | int | float | str | None


@dataclass(frozen=True)
class Prompt:
    """A text encoder's output: cross_attn [1, T, D], and pooled_output [1, P] of families that have one (SDXL).

    beside: what else it puts out, by the host's names; tensors of any shape, numbers and words.
    """

    cross_attn: Tensor
    pooled_output: Tensor | None = None
    beside: Mapping[str, Plain] = field(default_factory=dict)


def is_plain(value: object) -> bool:
    """Whether a file can keep this part of a prompt."""
    return value is None or isinstance(value, (Tensor, bool, int, float, str))


def is_prompt_tensor(key: str) -> bool:
    """Whether a file's tensor of this name is a part of the prompt."""
    return key in (CROSS_ATTN, POOLED) or key.startswith(BESIDE)


def prompt_tensors(prompt: Prompt) -> dict[str, Tensor]:
    """The prompt's tensors under the names that files give them."""
    own = {CROSS_ATTN: prompt.cross_attn} | ({} if prompt.pooled_output is None else {POOLED: prompt.pooled_output})
    beside = {BESIDE + name: value for name, value in prompt.beside.items() if isinstance(value, Tensor)}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in {**own, **beside}.items()}


def prompt_values(prompt: Prompt) -> dict[str, str]:
    """The prompt's numbers and words, as metadata; none where it has none."""
    values = {name: value for name, value in prompt.beside.items() if not isinstance(value, Tensor)}
    return {VALUES_KEY: json.dumps(values, sort_keys=True)} if values else {}


def take_prompt(tensors: dict[str, Tensor], metadata: Mapping[str, str] | None, name: str) -> Prompt:
    """Take the prompt out of a file's tensors. name: the file's. Raises DomainFileError."""
    cross_attn, pooled = tensors.pop(CROSS_ATTN, None), tensors.pop(POOLED, None)
    beside = {key.removeprefix(BESIDE): tensors.pop(key) for key in list(tensors) if key.startswith(BESIDE)}
    if cross_attn is None:
        raise DomainFileError(
            f"'{name}' holds no empty-prompt embedding ({CROSS_ATTN}): save it again with its text encoder or "
            "the encoded empty prompt connected."
        )
    if cross_attn.ndim < 3 or cross_attn.shape[0] != 1:
        raise DomainFileError(
            f"The empty prompt in '{name}' has shape {list(cross_attn.shape)}, expected [1, tokens, width]: save "
            "the file again."
        )
    if pooled is not None and (pooled.ndim != 2 or pooled.shape[0] != 1):
        raise DomainFileError(
            f"The pooled vector in '{name}' has shape {list(pooled.shape)}, expected [1, width]: save the file again."
        )
    return Prompt(cross_attn, pooled, {**beside, **_values(metadata, name)})


def prompt_metadata(prompt: Prompt) -> dict[str, str]:
    """The prompt as metadata: its tensors as the base64 of a small safetensors file, its numbers and words as JSON."""
    return {PROMPT_KEY: base64.b64encode(save(prompt_tensors(prompt))).decode()} | prompt_values(prompt)


def prompt_from(metadata: Mapping[str, str] | None, name: str) -> Prompt | None:
    """The inverse of `prompt_metadata`; None where the metadata hold no prompt.

    Raises DomainFileError if it is damaged.
    """
    if metadata is None or PROMPT_KEY not in metadata:
        return None
    try:
        tensors = load(base64.b64decode(metadata[PROMPT_KEY], validate=True))
    except (binascii.Error, SafetensorError) as error:
        raise _damaged(name, error) from error
    return take_prompt(tensors, metadata, name)


def _values(metadata: Mapping[str, str] | None, name: str) -> dict[str, Plain]:
    try:
        values = json.loads((metadata or {}).get(VALUES_KEY, "{}"))
    except json.JSONDecodeError as error:
        raise _damaged(name, error) from error
    return values if isinstance(values, dict) else {}


def _damaged(name: str, error: Exception) -> DomainFileError:
    return DomainFileError(f"The empty prompt in '{name}' is damaged ({error}): download or copy the file again.")
