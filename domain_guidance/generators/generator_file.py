"""The generator file: a generator's tensors and where they come from, in one safetensors file.

Tensors: named and shaped as `layout.tensor_shapes` or, for EG3D, `eg3d.layout.eg3d_shapes` says, in float32, float16 or
bfloat16. Metadata: the card, as one JSON string.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..files.atomic_file import save_tensors
from .eg3d.layout import Eg3dConfig, Rendering
from .errors import GeneratorFileError, Refused, about
from .layout import GeneratorConfig

FORMAT_VERSION = 1
CARD_KEY = "domain_guidance_generator"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Origin:
    """The file that a generator was converted from.

    name: of the file. sha256: of its bytes, in hexadecimal. kind: its format, in words. estimated: names of tensors
    that it did not hold and the conversion made.
    """

    name: str
    sha256: str
    kind: str
    estimated: tuple[str, ...] = ()


@dataclass(frozen=True)
class GeneratorCard:
    """What a generator file says of itself. training: the adaptation's record, plain JSON values."""

    config: GeneratorConfig | Eg3dConfig
    origin: Origin | None = None
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def architecture(self) -> str:
        return self.config.architecture


@dataclass(frozen=True)
class GeneratorFile:
    """A read generator file."""

    card: GeneratorCard
    weights: dict[str, Tensor]


def write_generator_file(
    path: str | os.PathLike, weights: Mapping[str, Tensor], card: GeneratorCard, *, free: bool = False
) -> None:
    """Writes a generator file atomically: `path` holds the old file or the whole new one, never a part.

    weights: a `Generator`'s or an `Eg3dGenerator`'s state dict. Raises GeneratorFileError for tensors that are not
    one's of the card's config. free: as in `replacing`, with its FileExistsError.
    """
    path = Path(path)
    with about(path.name):
        check_weights(weights, card.config)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    facts = {**asdict(card), "architecture": card.architecture}
    save_tensors(path, tensors, {CARD_KEY: json.dumps(facts, sort_keys=True)}, free=free)


def read_generator_card(path: str | os.PathLike) -> GeneratorCard:
    """The card of a generator file, without reading its weights. Raises GeneratorFileError."""
    path = Path(path)
    with about(path.name), _opened(path) as file:
        return _card(file.metadata())


def read_generator_file(path: str | os.PathLike) -> GeneratorFile:
    """Reads and checks a generator file, on the CPU. Raises GeneratorFileError before anything of it is used."""
    path = Path(path)
    with about(path.name), _opened(path) as file:
        card = _card(file.metadata())
        # Mapped, they would keep the file from being replaced on Windows.
        weights = {name: file.get_tensor(name).clone() for name in file.keys()}
        check_weights(weights, card.config)
    return GeneratorFile(card, weights)


def is_generator_file(path: str | os.PathLike) -> bool:
    """Whether a file is of the safetensors format, as far as its first bytes tell."""
    with open(path, "rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 100 * 2**20


def check_weights(weights: Mapping[str, Tensor], config: GeneratorConfig | Eg3dConfig) -> None:
    """Check that these are the finite tensors of a generator of this config. Raises Refused where they are not."""
    found = config.inferred({name: tuple(tensor.shape) for name, tensor in weights.items()})
    if found != config:
        raise Refused(
            f"its card announces other sizes than those of its tensors, a generator of {found.resolution} px: "
            "convert or save it again"
        )
    for name, tensor in weights.items():
        if tensor.dtype not in DTYPES:
            raise Refused(f"its tensor '{name}' holds {tensor.dtype}, expected float32, float16 or bfloat16")
        if not tensor.isfinite().all():
            raise Refused(f"its tensor '{name}' holds NaN or infinity: use one from before training diverged")


def _opened(path: Path):
    if not path.is_file():
        raise GeneratorFileError(f"There is no generator file '{path.name}': check its name and folder.")
    try:
        return safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise Refused(f"it is not a complete safetensors file ({error}); download or copy it again") from error


def _card(metadata: Mapping[str, str] | None) -> GeneratorCard:
    if metadata is None or CARD_KEY not in metadata:
        raise Refused("it is a safetensors file, but not of a generator: give a .pkl, .pt or converted generator")
    try:
        values = json.loads(metadata[CARD_KEY])
        version, architecture = values["format_version"], values["architecture"]
        if version != FORMAT_VERSION or architecture not in _CONFIGS:
            known = " and ".join(_CONFIGS)
            raise Refused(
                f"it has format {version!r:.40} of {architecture!r:.40}, this reads {FORMAT_VERSION} of {known}: "
                "update Domain Guidance"
            )
        return GeneratorCard(
            _CONFIGS[architecture](values["config"]), _origin(values.get("origin")), dict(values.get("training", {}))
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused("its card is damaged: convert or save it again") from error


def _stylegan2(values: Mapping[str, Any]) -> GeneratorConfig:
    return _fields(GeneratorConfig, {**values, "widths": tuple(values["widths"])})


def _eg3d(values: Mapping[str, Any]) -> Eg3dConfig:
    parts = {"backbone": _stylegan2(values["backbone"]), "rendering": _fields(Rendering, values["rendering"])}
    return _fields(
        Eg3dConfig, {**values, **parts, **{name: tuple(values[name]) for name in ("pivot", "superresolution_widths")}}
    )


_CONFIGS = {"stylegan2": _stylegan2, "eg3d": _eg3d}


def _origin(values: Any) -> Origin | None:
    if values is None:
        return None
    origin = _fields(Origin, {**values, "estimated": tuple(values.get("estimated", ()))})
    if not all(isinstance(part, str) for part in (origin.name, origin.sha256, origin.kind, *origin.estimated)):
        raise TypeError("an origin's parts are text")
    return origin


def _fields(kind: type, values: Mapping[str, Any]) -> Any:
    known = {f.name for f in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in known})
