"""Reading a domain file into a MODEL through the host's own loader."""

from __future__ import annotations

import math
import os

import comfy.sd
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher

from ....domain_guidance.domains.domain_file import DomainFileError, read_without_weights
from .origin import ATTACHMENT, DomainOrigin, conditioning_of
from .prediction import predict_as

# As in the host's Load Diffusion Model.
WEIGHT_DTYPES = {
    "default": {},
    "fp8_e4m3fn": {"dtype": torch.float8_e4m3fn},
    "fp8_e4m3fn_fast": {"dtype": torch.float8_e4m3fn, "fp8_optimizations": True},
    "fp8_e5m2": {"dtype": torch.float8_e5m2},
}


def load_domain_unet(folder: str, name: str, weight_dtype: str = "default") -> ModelPatcher:
    """A MODEL from the domain file `name` of a model folder. Raises DomainFileError, one sentence."""
    return read_domain_unet(path_inside(folder, name), name, weight_dtype)


def read_domain_unet(path: str | os.PathLike, name: str | None = None, weight_dtype: str = "default") -> ModelPatcher:
    """A MODEL from the domain file at `path`. name: what messages call it. Raises DomainFileError, one sentence."""
    path = os.fspath(path)
    name = name or os.path.basename(path)
    card, prompt = read_without_weights(path)
    model = comfy.sd.load_diffusion_model(path, model_options=dict(WEIGHT_DTYPES[weight_dtype]))
    predict_as(model, card)
    model.set_attachments(ATTACHMENT, DomainOrigin(name, card, conditioning_of(card, prompt)))
    return model


def changed_at(folder: str, name: str) -> float:
    """When the file `name` of a model folder was last written, in seconds.

    NaN, which equals nothing, where the file is missing.
    """
    path = folder_paths.get_full_path(folder, name) if name in folder_paths.get_filename_list(folder) else None
    return math.nan if path is None else os.path.getmtime(path)


def path_inside(folder: str, name: str) -> str:
    # A combo is untrusted: the API takes any string. The host maps '..' into the folder, so only a listed name is safe.
    if name not in folder_paths.get_filename_list(folder):
        raise DomainFileError(
            f"'{name}' is not in the {folder} folders of this ComfyUI: put the domain file into models/{folder} and "
            "press R to refresh."
        )
    return folder_paths.get_full_path_or_raise(folder, name)
