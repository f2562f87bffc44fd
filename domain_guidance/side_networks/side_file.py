"""The file of a side network: a few MB, safetensors, with the card of every domain.

Tensors: `side_network.<name>`, in half precision. Metadata: the card (form `side-network`), the shape of the network
and its latent space, the empty prompt on which the base was asked in training, and preview pictures.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..domains.card import DomainCard, DomainFileError, card_metadata
from ..domains.domain_file import read_card, read_checked, write_checked
from ..domains.fingerprint import fingerprint
from ..domains.prompt import Prompt, prompt_from, prompt_metadata
from ..domains.training_forms import SIDE_NETWORK
from .network import SideNetwork, SideShape, shape_from

PREFIX = "side_network."
METADATA_KEY = "domain_guidance.side_network"


@dataclass(frozen=True)
class LatentSpace:
    """Which latents a side network reads.

    channels: of a latent. scale, shift: the VAE's, of model latent = (latent - shift) scale. name: the host's name of
    the format, where it has one.
    """

    channels: int
    scale: float = 1.0
    shift: float = 0.0
    name: str = ""

    def __str__(self) -> str:
        return f"{self.channels}-channel {self.name or f'(scale {self.scale:g}, shift {self.shift:g})'}"

    def fits(self, other: LatentSpace) -> bool:
        """Whether both are one space; names decide only where both have one."""
        numbers = all(
            math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3)
            for a, b in ((self.scale, other.scale), (self.shift, other.shift))
        )
        named_alike = not (self.name and other.name) or self.name == other.name
        return self.channels == other.channels and numbers and named_alike


@dataclass(frozen=True)
class SideFile:
    """A read side network, ready for evaluation. empty: the prompt on which the base was asked in training."""

    card: DomainCard
    network: SideNetwork
    latents: LatentSpace
    empty: Prompt


def write_side_file(
    path: str | os.PathLike,
    network: SideNetwork,
    *,
    card: DomainCard,
    latents: LatentSpace,
    empty: Prompt,
    covers: Sequence[bytes] = (),
) -> None:
    """Writes a side network atomically. covers: preview pictures, as image files.

    Raises DomainFileError for values that are not finite, OSError.
    """
    tensors = {PREFIX + name: tensor.half() for name, tensor in network.state_dict().items()}
    own = replace(card, form=SIDE_NETWORK, fingerprint=fingerprint(tensors))
    described = {"shape": asdict(network.shape), "latents": asdict(latents)}
    metadata = card_metadata(own, covers) | prompt_metadata(empty)
    write_checked(path, tensors, {**metadata, METADATA_KEY: json.dumps(described, sort_keys=True)})


def is_side_file(path: str | os.PathLike) -> bool:
    """Whether a domain's file is a side network, by its card. Raises DomainFileError where it has none."""
    return read_card(path).form == SIDE_NETWORK


def read_side_file(path: str | os.PathLike) -> SideFile:
    """Reads and checks a side network, on the CPU in fp32. Raises DomainFileError, one sentence, if it is none."""
    name = Path(path).name
    card, tensors, metadata = read_checked(path)
    if card.form != SIDE_NETWORK or METADATA_KEY not in metadata:
        raise DomainFileError(
            f"'{name}' is a domain of the form {card.form}, expected a side network: load it with Load Domain UNet or "
            "Load Domain Adapter."
        )
    empty = prompt_from(metadata, name)
    if empty is None:
        raise DomainFileError(f"'{name}' has lost its empty prompt: download or copy the file again.")
    shape, latents = _described(metadata[METADATA_KEY], name)
    network = _network(shape, tensors, name)
    if latents.channels != shape.channels:
        raise DomainFileError(
            f"'{name}' says its latents have {latents.channels} channels and its network {shape.channels}: copy the "
            "file again."
        )
    return SideFile(card, network, latents, empty)


def _described(text: str, name: str):
    try:
        values = json.loads(text)
        return shape_from(values["shape"]), LatentSpace(**values["latents"])
    except (ValueError, KeyError, TypeError) as error:
        raise DomainFileError(
            f"The description of the side network in '{name}' is damaged ({error}): download or copy the file again."
        ) from error


def _network(shape: SideShape, tensors: Mapping[str, Tensor], name: str) -> SideNetwork:
    state = {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
    with torch.device("meta"):  # a false description must not take the memory that it asks for
        wanted = {key: tensor.shape for key, tensor in SideNetwork(shape).state_dict().items()}
    if {key: tensor.shape for key, tensor in state.items()} != wanted:
        raise DomainFileError(
            f"The tensors of '{name}' are not those of the side network that it describes: download or copy it again."
        )
    network = SideNetwork(shape)
    network.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    return network.eval().requires_grad_(False)
