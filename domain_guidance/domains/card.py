"""The card of a domain: what its file says of itself, as one JSON string in the file's metadata."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from ..diffusion.parameterization import PREDICTIONS, Prediction

FORMAT_VERSION = 1
HOST_PREFIX = "model.diffusion_model."  # of a network's tensors in most of ComfyUI's files
CARD_KEY = "domain_guidance"
# kohya's name, under which ComfyUI's model browser looks for pictures: a JSON list of files in base64.
COVERS_KEY = "ssmd_cover_images"

NUMBER = (int, float)
# Of what a card's JSON holds; the other fields have a few values each, which the card checks itself.
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "base_fingerprint": str,
    "base_name": str,
    "recommended_weight": NUMBER,
    "recommended_cfg": NUMBER,
    "zero_terminal_snr": bool,
    "guidance": (*NUMBER, type(None)),
    "training": dict,
    "fingerprint": str,
    "edm_levels": (list, type(None)),
    "key_prefix": str,
}

Form = Literal["text-free", "text-based", "side-network"]
Layout = Literal["host", "diffusers"]


class DomainFileError(ValueError):
    """A domain file that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class DomainCard:
    """What a domain file says of itself.

    form: text-free (cross-attention is a constant), text-based (it reads the stored empty prompt), or side-network (it
    corrects the base's own prediction, see `side_networks`).
    prediction: what the network puts out. zero_terminal_snr: whether its noise levels were rescaled to end in pure
    noise.
    guidance: what training fed to a network that reads a distilled guidance (Flux), None for others.
    base_fingerprint: `fingerprint` of the base it was trained from. recommended_weight, recommended_cfg: the paper's
    w_d and w_c. training: the training record, plain JSON values. fingerprint: of the file's own weights; its writer
    fills it in.
    """

    form: Form
    prediction: Prediction
    base_fingerprint: str
    base_name: str = ""
    recommended_weight: float = 1.5
    recommended_cfg: float = 3.0
    zero_terminal_snr: bool = False
    guidance: float | None = None
    training: dict[str, Any] = field(default_factory=dict)
    layout: Layout = "host"
    format_version: int = FORMAT_VERSION
    fingerprint: str = ""
    edm_levels: tuple[float, float] | None = None
    key_prefix: str = HOST_PREFIX

    def __post_init__(self):
        for name, allowed in (("form", get_args(Form)), ("prediction", PREDICTIONS), ("layout", get_args(Layout))):
            if getattr(self, name) not in allowed:
                raise DomainFileError(
                    f"A domain card says {name} '{getattr(self, name)}', expected one of {', '.join(allowed)}: "
                    "write the file again with this version of Domain Guidance."
                )


def card_metadata(card: DomainCard, covers: Sequence[bytes] = ()) -> dict[str, str]:
    """Metadata of a safetensors file. covers: preview pictures, as JPEG or PNG files."""
    metadata = {CARD_KEY: json.dumps(asdict(card), sort_keys=True)}
    if covers:
        metadata[COVERS_KEY] = json.dumps([base64.b64encode(cover).decode() for cover in covers])
    return metadata


def covers_from(metadata: Mapping[str, str] | None) -> tuple[bytes, ...]:
    """The preview pictures in a file's metadata, as `card_metadata` was given them.

    None where other programs, which write there too, left something else: no training shall fail for its pictures.
    """
    try:
        covers = json.loads((metadata or {}).get(COVERS_KEY, "[]"))
        return tuple(base64.b64decode(cover, validate=True) for cover in covers)
    except (ValueError, TypeError, RecursionError):
        return ()


def card_from(metadata: Mapping[str, str] | None, name: str) -> DomainCard:
    """The card in a file's metadata. name: the file's, for messages. Raises DomainFileError."""
    if metadata is None or CARD_KEY not in metadata:
        raise DomainFileError(
            f"'{name}' is not a domain file, it has no Domain Guidance card: give a file that a training of Domain "
            "Guidance wrote, or in ComfyUI load it with 'Load Diffusion Model' and connect the encoded empty prompt to "
            "domain_conditioning."
        )
    try:
        values = json.loads(metadata[CARD_KEY])
    except (ValueError, RecursionError) as error:
        raise DomainFileError(f"The card of '{name}' is damaged ({error}): download or copy the file again.") from error
    if not isinstance(values, dict) or not {"form", "prediction", "base_fingerprint"} <= values.keys():
        raise DomainFileError(f"The card of '{name}' lacks form, prediction or base fingerprint: write the file again.")
    if values.get("format_version") != FORMAT_VERSION:
        raise DomainFileError(
            f"'{name}' has format version {values.get('format_version')}, this version of Domain Guidance reads "
            f"{FORMAT_VERSION}: update Domain Guidance."
        )
    known = {f.name for f in fields(DomainCard)}
    own = {key: value for key, value in values.items() if key in known}
    _check_types(own, name)
    return DomainCard(**own)


def _check_types(values: Mapping[str, Any], name: str) -> None:
    for key, allowed in TYPES.items():
        if key in values and not isinstance(values[key], allowed):
            raise _damaged(name, key)
    levels = values.get("edm_levels")
    if levels is not None and (len(levels) != 2 or not all(isinstance(level, NUMBER) for level in levels)):
        raise _damaged(name, "edm_levels")


def _damaged(name: str, key: str) -> DomainFileError:
    return DomainFileError(
        f"The card of '{name}' has a value of another type than expected as its {key}: download or copy the file again."
    )
