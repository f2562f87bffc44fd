"""Side networks in the host: their folder, reading one beside a MODEL, and which latents a MODEL has."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import folder_paths
import torch
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ....domain_guidance.domains.card import DomainFileError
from ....domain_guidance.side_networks import LatentSpace, SideFile, read_side_file
from ..node_text import tell_here
from .load_domain import path_inside
from .origin import ATTACHMENT, DomainOrigin, base_fingerprint, conditioning_of

FOLDER = "side_networks"
KEY = "domain_guidance.side_network"
BEFORE = "connect the model from before Load Side Network"
CHAIN = f"{BEFORE}, and chain two Apply Domain Guidance for two domains on one picture"


@dataclass(frozen=True)
class SideDomain:
    """Travels with the MODEL of Load Side Network. name: of its file."""

    name: str
    file: SideFile


def register_folder() -> None:
    """Makes models/side_networks and output/side_networks known to the host's lists of files. Called once."""
    models = os.path.join(folder_paths.models_dir, FOLDER)
    for folder in (models, output_folder()):
        folder_paths.add_model_folder_path(FOLDER, str(folder))
    folder_paths.folder_names_and_paths[FOLDER][1].add(".safetensors")
    with suppress(OSError):  # an installation that is only read
        os.makedirs(models, exist_ok=True)


def output_folder() -> Path:
    return Path(folder_paths.get_output_directory(), FOLDER)


def load_side_network(model: ModelPatcher, name: str) -> ModelPatcher:
    """`model` with a side network as its domain, and the empty prompt it was trained with.

    Raises DomainFileError, one sentence, for a file that is none or is one for other latents.
    """
    return read_side_network(model, path_inside(FOLDER, name), name)


def read_side_network(model: ModelPatcher, path: str | os.PathLike, name: str | None = None) -> ModelPatcher:
    """`model` with the side network at `path`. name: what messages call it. Raises as `load_side_network`."""
    check_no_side(model, CHAIN)
    name = name or os.path.basename(path)
    with torch.inference_mode(False):  # what it is used for later may be outside of it
        file = read_side_file(path)
    return beside(model, SideDomain(name, file))


def beside(model: ModelPatcher, side: SideDomain) -> ModelPatcher:
    """A clone of `model` that carries `side`. Raises DomainFileError where its latents are others."""
    check_latents(model.model, side, "model")
    clone, file = model.clone(), side.file
    clone.set_attachments(KEY, side)
    empty = conditioning_of(file.card, file.empty)
    clone.set_attachments(ATTACHMENT, DomainOrigin(side.name, file.card, empty))
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, _warn_of_sampling)
    return clone


def side_of(model: ModelPatcher) -> SideDomain | None:
    return model.get_attachment(KEY)


def check_no_side(model: ModelPatcher, advice: str) -> None:
    """Raises ValueError, one sentence that ends with `advice`, for a MODEL whose domain would be lost on the way."""
    if side_of(model) is not None:
        raise ValueError(
            "The model comes from Load Side Network, whose domain is not part of the model and acts only as "
            f"domain_model of Apply Domain Guidance: {advice}."
        )


def latent_space(model: BaseModel) -> LatentSpace:
    """The latents that a network of the host works on."""
    form = model.latent_format
    scale, shift = getattr(form, "scale_factor", 1.0), getattr(form, "shift_factor", 0.0)
    scale, shift = (float(value) if isinstance(value, (int, float)) else 1.0 for value in (scale, shift or 0.0))
    return LatentSpace(form.latent_channels, scale, shift, type(form).__name__)


def check_latents(model: BaseModel, side: SideDomain, role: str) -> None:
    """Raises DomainFileError, one sentence, if the network cannot read the latents of `model`."""
    found, expected = latent_space(model), side.file.latents
    if not expected.fits(found):
        raise DomainFileError(
            f"'{side.name}' reads {expected} latents and {role} works on {found} ones: connect a model of the family "
            f"that it was trained on ({side.file.card.base_name or 'its card names none'})."
        )


def warn_of_other_base(side: SideDomain, base: ModelPatcher) -> None:
    expected, found = side.file.card.base_fingerprint, base_fingerprint(base)
    if found and found != expected:
        tell_here(
            "'%s' was trained on a different base (%s %s) than the connected model, which is fine on a distilled "
            "version of that base; otherwise compare the pictures with and without it, or train one on this model.",
            side.name,
            side.file.card.base_name or "fingerprint",
            expected,
        )


def _warn_of_sampling(executor, guider, *args, **kwargs):
    tell_here(
        "A sampler got the domain_model of Load Side Network, which draws as the plain base; connect "
        "it to domain_model of Apply Domain Guidance, and the base to model."
    )
    return executor(guider, *args, **kwargs)
