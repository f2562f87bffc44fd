"""The domain file: everything a domain UNet needs, in one safetensors file.

Tensors: the UNet's weights, in ComfyUI's layout (names under `model.diffusion_model.`, which ComfyUI's stock loaders read)
or in diffusers'; `domain.cross_attn`, the empty prompt it was trained with, always, because ControlNets read it even where
the UNet does not; `domain.pooled_output` where the family has one. Metadata: the card, as one JSON string.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .parameterization import PREDICTIONS, Prediction
from .unet_layouts import HOST_PREFIX

FORMAT_VERSION = 1
CARD_KEY = "domain_guidance"
CROSS_ATTN = "domain.cross_attn"
POOLED = "domain.pooled_output"

Form = Literal["text-free", "text-based"]
Layout = Literal["host", "diffusers"]


class DomainFileError(ValueError):
    """A domain file that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class DomainCard:
    """What a domain file says of itself.

    form: text-free (cross-attention is a constant) or text-based (it reads the stored empty prompt).
    prediction: what the network puts out. base_fingerprint: `fingerprint` of the base it was trained from.
    recommended_weight, recommended_cfg: the paper's w_d and w_c. training: the training record, plain JSON values.
    """

    form: Form
    prediction: Prediction
    base_fingerprint: str
    base_name: str = ""
    recommended_weight: float = 1.5
    recommended_cfg: float = 3.0
    training: dict[str, Any] = field(default_factory=dict)
    layout: Layout = "host"
    format_version: int = FORMAT_VERSION

    def __post_init__(self):
        for name, allowed in (("form", get_args(Form)), ("prediction", PREDICTIONS), ("layout", get_args(Layout))):
            if getattr(self, name) not in allowed:
                raise DomainFileError(
                    f"A domain card says {name} '{getattr(self, name)}', expected one of {', '.join(allowed)}: "
                    "write the file again with this version of Domain Guidance."
                )


@dataclass(frozen=True)
class DomainFile:
    """A read domain file. weights: as named in the file, without the `domain.` tensors."""

    card: DomainCard
    weights: dict[str, Tensor]
    cross_attn: Tensor
    pooled_output: Tensor | None = None


def write_domain_file(
    path: str | os.PathLike,
    weights: Mapping[str, Tensor],
    *,
    card: DomainCard,
    cross_attn: Tensor,
    pooled_output: Tensor | None = None,
) -> None:
    """Writes a domain file atomically: `path` holds the old file or the whole new one, never a part.

    weights: named in the card's layout; names of the host layout may come with or without their prefix.
    cross_attn: the empty prompt, [1, T, D]. pooled_output: its pooled vector, [1, P], where the family has one.
    """
    tensors = {_stored_name(name, card.layout): tensor for name, tensor in weights.items()}
    tensors[CROSS_ATTN] = cross_attn
    if pooled_output is not None:
        tensors[POOLED] = pooled_output
    for name, tensor in tensors.items():
        _check_finite(name, tensor, "the weights to be saved")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    _save_atomically(tensors, {CARD_KEY: json.dumps(asdict(card), sort_keys=True)}, Path(path))


def read_card(path: str | os.PathLike) -> DomainCard:
    """The card of a domain file, without reading its weights. Raises DomainFileError."""
    with _opened(Path(path)) as file:
        return _card(file.metadata(), Path(path).name)


def read_domain_file(path: str | os.PathLike) -> DomainFile:
    """Reads and checks a domain file, on the CPU. Raises DomainFileError before anything of it is used."""
    name = Path(path).name
    with _opened(Path(path)) as file:
        card = _card(file.metadata(), name)
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    for key, tensor in tensors.items():
        _check_finite(key, tensor, f"'{name}'")
    cross_attn, pooled = tensors.pop(CROSS_ATTN, None), tensors.pop(POOLED, None)
    _check_embedding(cross_attn, pooled, name)
    _check_layout(tensors, card, name)
    return DomainFile(card, tensors, cross_attn, pooled)


def _stored_name(name: str, layout: Layout) -> str:
    return name if layout == "diffusers" or name.startswith(HOST_PREFIX) else HOST_PREFIX + name


def _save_atomically(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    part.touch(exist_ok=False)
    mode = part.stat().st_mode  # the user's usual one; safetensors makes files that nobody else may read
    try:
        save_file(tensors, part, metadata)
        part.chmod(mode)
        with open(part, "rb+") as written:  # on disk before the name points to it
            os.fsync(written.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _opened(path: Path):
    if not path.is_file():
        raise DomainFileError(f"There is no domain file '{path.name}': check the name, or refresh the list of models.")
    try:
        return safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise DomainFileError(
            f"'{path.name}' is not a complete safetensors file ({error}): download or copy it again."
        ) from error


def _card(metadata: Mapping[str, str] | None, name: str) -> DomainCard:
    if CARD_KEY not in (metadata or {}):
        raise DomainFileError(
            f"'{name}' is not a domain file, it has no Domain Guidance card: load it with 'Load Diffusion Model' "
            "and connect the encoded empty prompt to domain_conditioning."
        )
    try:
        values = json.loads(metadata[CARD_KEY])
    except json.JSONDecodeError as error:
        raise DomainFileError(f"The card of '{name}' is damaged ({error}): download or copy the file again.") from error
    if not isinstance(values, dict) or not {"form", "prediction", "base_fingerprint"} <= values.keys():
        raise DomainFileError(f"The card of '{name}' lacks form, prediction or base fingerprint: write the file again.")
    if values.get("format_version") != FORMAT_VERSION:
        raise DomainFileError(
            f"'{name}' has format version {values.get('format_version')}, this version of Domain Guidance reads "
            f"{FORMAT_VERSION}: update Domain Guidance."
        )
    known = {f.name for f in fields(DomainCard)}
    return DomainCard(**{key: value for key, value in values.items() if key in known})


def _check_finite(key: str, tensor: Tensor, where: str) -> None:
    # float8 has no isfinite of its own; the sum over a wider type sees its NaN as well.
    values = tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
    if values.is_floating_point() and not torch.isfinite(values).all():
        raise DomainFileError(f"The tensor '{key}' of {where} holds NaN or infinity: use a checkpoint from before training diverged.")


def _check_embedding(cross_attn: Tensor | None, pooled: Tensor | None, name: str) -> None:
    if cross_attn is None:
        raise DomainFileError(
            f"'{name}' holds no empty-prompt embedding ({CROSS_ATTN}): save it again with its text encoder or "
            "the encoded empty prompt connected."
        )
    if cross_attn.ndim != 3 or cross_attn.shape[0] != 1:
        raise DomainFileError(f"The empty prompt in '{name}' has shape {list(cross_attn.shape)}, expected [1, tokens, width]: save the file again.")
    if pooled is not None and (pooled.ndim != 2 or pooled.shape[0] != 1):
        raise DomainFileError(f"The pooled vector in '{name}' has shape {list(pooled.shape)}, expected [1, width]: save the file again.")


def _check_layout(weights: Mapping[str, Tensor], card: DomainCard, name: str) -> None:
    prefixed = [key for key in weights if key.startswith(HOST_PREFIX)]
    if not weights or (card.layout == "host") != bool(prefixed):
        raise DomainFileError(
            f"'{name}' says its keys are in the {card.layout} layout, but {len(prefixed)} of {len(weights)} have the prefix "
            f"'{HOST_PREFIX}': save the file again."
        )
    if card.form == "text-free":
        _check_text_free(weights, name)


def _check_text_free(weights: Mapping[str, Tensor], name: str) -> None:
    reading = [key for key in weights if key.endswith("attn2.to_v.weight") and weights[key].float().count_nonzero()]
    if reading:
        raise DomainFileError(
            f"'{name}' says it is text-free, but {len(reading)} cross-attentions still read the text (the first is "
            f"'{reading[0]}'): save it again as text-free."
        )

