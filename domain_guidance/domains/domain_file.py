"""The domain file: everything a domain UNet needs, in one safetensors file.

Tensors: the network's weights, in ComfyUI's layout (names under the card's prefix, `model.diffusion_model.` for most
families, which ComfyUI's stock loaders read) or in diffusers'; `domain.cross_attn`, the empty prompt it was trained
with, always, because ControlNets read it even where the network does not; `domain.pooled_output` where the family has
one, and `domain.prompt.<name>` for what else its text encoder puts out. Metadata: the card, and preview pictures.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..files.atomic_file import save_tensors
from .card import DomainCard, DomainFileError, card_from, card_metadata, covers_from
from .fingerprint import fingerprint
from .prompt import Plain, Prompt, is_prompt_tensor, prompt_tensors, prompt_values, take_prompt

# ComfyUI's loader tells velocity from noise prediction, and rescaled or continuous noise levels from others, by these
# tensors alone (SDXL).
VELOCITY_MARK, ZERO_SNR_MARK = "v_pred", "ztsnr"
EDM_MARKS = ("edm_vpred.sigma_min", "edm_vpred.sigma_max")
MARKS = (VELOCITY_MARK, ZERO_SNR_MARK, *EDM_MARKS)


@dataclass(frozen=True)
class DomainFile:
    """A read domain file. weights: as named in the file, without what is no weight of the network. cross_attn,
    pooled_output, beside: as of `Prompt`.
    """

    card: DomainCard
    weights: dict[str, Tensor]
    cross_attn: Tensor
    pooled_output: Tensor | None = None
    beside: Mapping[str, Plain] = field(default_factory=dict)


def write_domain_file(
    path: str | os.PathLike,
    weights: Mapping[str, Tensor],
    *,
    card: DomainCard,
    cross_attn: Tensor,
    pooled_output: Tensor | None = None,
    beside: Mapping[str, Plain] | None = None,
    covers: Sequence[bytes] = (),
    free: bool = False,
) -> None:
    """Writes a domain file atomically: `path` holds the old file or the whole new one, never a part.

    weights: named in the card's layout; names of the host layout may come with or without their prefix.
    cross_attn: the empty prompt, [1, T, D]. pooled_output: its pooled vector, [1, P], where the family has one.
    beside: as of `Prompt`. covers: preview pictures, as image files. free: as in `replacing`, with its FileExistsError.
    Raises DomainFileError for no weights at all and for values that are not finite, OSError.
    """
    if not weights:
        raise DomainFileError("There are no weights to be saved: connect a model whose network ComfyUI can save.")
    named = {_stored_name(name, card): tensor for name, tensor in weights.items()}
    prompt = Prompt(cross_attn, pooled_output, beside or {})
    metadata = card_metadata(replace(card, fingerprint=fingerprint(named)), covers) | prompt_values(prompt)
    write_checked(path, {**named, **_marks(card), **prompt_tensors(prompt)}, metadata, free=free)


def read_card(path: str | os.PathLike) -> DomainCard:
    """The card of a domain file or an adapter, without reading its weights. Raises DomainFileError."""
    with _opened(Path(path)) as file:
        return card_from(file.metadata(), Path(path).name)


def read_covers(path: str | os.PathLike) -> tuple[bytes, ...]:
    """The preview pictures of a domain file or an adapter, as image files. Raises DomainFileError."""
    with _opened(Path(path)) as file:
        return covers_from(file.metadata())


def read_domain_file(path: str | os.PathLike) -> DomainFile:
    """Reads and checks a domain file, on the CPU. Raises DomainFileError before anything of it is used."""
    name = Path(path).name
    card, tensors, metadata = read_checked(path)
    _check_form(card, name)
    prompt = take_prompt(tensors, metadata, name)
    marks = {card.key_prefix + mark for mark in MARKS}
    weights = {key: tensor for key, tensor in tensors.items() if key not in marks}
    _check_layout(weights, card, name)
    if card.form == "text-free":
        _check_text_free([key for key, tensor in weights.items() if _reads_text(key, tensor)], name)
    return DomainFile(card, weights, prompt.cross_attn, prompt.pooled_output, prompt.beside)


def read_without_weights(path: str | os.PathLike) -> tuple[DomainCard, Prompt]:
    """A domain file's card and empty prompt, after the checks of `read_domain_file`.

    The weights are looked at one by one and let go, so that whoever loads them next has the memory to itself.
    """
    name = Path(path).name
    with _opened(Path(path)) as file:
        metadata = file.metadata()
        card = card_from(metadata, name)
        _check_form(card, name)
        prompt, weights, reading = {}, [], []
        for key in file.keys():
            tensor = file.get_tensor(key)
            _check_finite(key, tensor, f"'{name}'")
            if is_prompt_tensor(key):
                prompt[key] = tensor.clone()  # a view would keep the whole file
            elif key.removeprefix(card.key_prefix) not in MARKS:
                weights.append(key)
                reading += [key] if card.form == "text-free" and _reads_text(key, tensor) else []
    _check_layout(weights, card, name)
    _check_text_free(reading, name)
    return card, take_prompt(prompt, metadata, name)


def write_checked(
    path: str | os.PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, free: bool = False
) -> None:
    """Writes tensors that are all finite, and sees that they are there. free: as in `replacing`.

    Raises DomainFileError, OSError.
    """
    for name, tensor in tensors.items():
        _check_finite(name, tensor, "the weights to be saved")
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_tensors(path, own, metadata, free=free)
    with _opened(Path(path)) as file:
        there = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    if there != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        raise DomainFileError(f"'{Path(path).name}' does not hold what was written to it: save it on another disk.")


def read_checked(path: str | os.PathLike) -> tuple[DomainCard, dict[str, Tensor], Mapping[str, str]]:
    """Card, tensors and metadata of a file that Domain Guidance wrote; all finite. Raises DomainFileError."""
    name = Path(path).name
    with _opened(Path(path)) as file:
        metadata = file.metadata()
        card = card_from(metadata, name)
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    # A mapped prompt, which is kept longer than the weights, would keep the file from being replaced on Windows.
    tensors |= {key: tensor.clone() for key, tensor in tensors.items() if is_prompt_tensor(key)}
    for key, tensor in tensors.items():
        _check_finite(key, tensor, f"'{name}'")
    return card, tensors, metadata


def _stored_name(name: str, card: DomainCard) -> str:
    return name if card.layout == "diffusers" or name.startswith(card.key_prefix) else card.key_prefix + name


def _marks(card: DomainCard) -> dict[str, Tensor]:
    if card.layout != "host" or card.prediction != "v_prediction":
        return {}
    marks = {VELOCITY_MARK: torch.empty(0)}
    if card.zero_terminal_snr:
        marks[ZERO_SNR_MARK] = torch.empty(0)
    if card.edm_levels is not None:
        marks = dict(zip(EDM_MARKS, map(torch.tensor, card.edm_levels)))
    return {card.key_prefix + mark: value for mark, value in marks.items()}


def _opened(path: Path):
    if not path.is_file():
        raise DomainFileError(f"There is no domain file '{path.name}': check its name and folder.")
    try:
        return safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise DomainFileError(
            f"'{path.name}' is not a complete safetensors file ({error}): download or copy it again."
        ) from error


def _check_finite(key: str, tensor: Tensor, where: str) -> None:
    # float8 has no isfinite of its own; the sum over a wider type sees its NaN as well.
    values = tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
    if values.is_floating_point() and not torch.isfinite(values).all():
        raise DomainFileError(
            f"The tensor '{key}' of {where} holds NaN or infinity: use a checkpoint from before training diverged."
        )


def _check_form(card: DomainCard, name: str) -> None:
    if card.form == "side-network":
        raise DomainFileError(
            f"'{name}' is a side network, which is no UNet of its own: put it into models/side_networks and load it "
            "with Load Side Network."
        )


def _check_layout(weights: Collection[str], card: DomainCard, name: str) -> None:
    prefixed = [key for key in weights if key.startswith(card.key_prefix)]
    if not weights or (card.layout == "host") != bool(prefixed):
        raise DomainFileError(
            f"'{name}' says its keys are in the {card.layout} layout, but {len(prefixed)} of {len(weights)} have the "
            f"prefix '{card.key_prefix}': save the file again."
        )


def _reads_text(key: str, tensor: Tensor) -> bool:
    return key.endswith("attn2.to_v.weight") and bool(tensor.float().count_nonzero())


def _check_text_free(reading: Sequence[str], name: str) -> None:
    if reading:
        raise DomainFileError(
            f"'{name}' says it is text-free, but {len(reading)} cross-attentions still read the text (the first is "
            f"'{reading[0]}'): save it again as text-free."
        )
