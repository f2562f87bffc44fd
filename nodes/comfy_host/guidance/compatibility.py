"""Which two MODELs may stand in one guidance term."""

from __future__ import annotations

import comfy.model_sampling
import torch
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher

from ..node_text import tell_here

NARROW_DTYPES = (torch.float8_e4m3fn, torch.float8_e5m2)
# They say how a network is stored or what is glued to its input, not what it is.
NOT_ARCHITECTURE = ("dtype", "in_channels", "disable_unet_model_creation")


def check_pair(base: ModelPatcher, other: ModelPatcher, role: str) -> None:
    """Raises ValueError, one sentence, if `other` cannot be compared with `base` at the same noisy latent.

    role: the input's name, for the message.
    """
    check_noising(base, other, role)
    _check_latent(base.model, other.model, role)
    if _is_narrow(base) != _is_narrow(other):
        tell_here(
            "model has %s weights, but %s has %s, so rounding differences become part of the "
            "term; load both with the same weight_dtype.",
            _storage(base),
            role,
            _storage(other),
        )


def same_architecture(a: BaseModel, b: BaseModel) -> bool:
    """Whether patches and controls made for one network fit the other."""
    return _architecture(a) == _architecture(b)


def check_noising(base: ModelPatcher, other: ModelPatcher, role: str) -> None:
    """The part of `check_pair` that a node further down can still undo (ModelSampling, Select Model Device)."""
    if base.load_device != other.load_device:
        raise ValueError(
            f"{role} computes on {other.load_device}, but model on {base.load_device}, and a step needs both at the "
            "same noisy image: choose the same device for the two in Select Model Device."
        )
    mine, theirs = _noising(base), _noising(other)
    if mine != theirs:
        raise ValueError(
            f"{role} is a {theirs} model, but model is a {mine} model, and at the same sigma they see differently "
            f"noised images: connect a {role} of the same kind as model."
        )


def _noising(model: ModelPatcher) -> str:
    """The kind of noising, which two models of one term must share.

    Noise- and velocity-prediction models mix, because both see x0 + sigma * noise; flow models only mix with flow
    models.
    """
    sampling = model.get_model_object("model_sampling")
    if isinstance(sampling, comfy.model_sampling.CONST):
        return "flow"
    if isinstance(sampling, comfy.model_sampling.EPS):
        return "noise-prediction"
    return type(sampling).__mro__[1].__name__


def _check_latent(base: BaseModel, other: BaseModel, role: str) -> None:
    mine, theirs = base.latent_format, other.latent_format
    if type(mine) is not type(theirs) or mine.latent_channels != theirs.latent_channels:
        raise ValueError(
            f"{role} works on {theirs.latent_channels}-channel {type(theirs).__name__} latents, but model works on "
            f"{mine.latent_channels}-channel {type(mine).__name__} latents: connect a {role} of the same model "
            "family."
        )


def _architecture(model: BaseModel) -> dict:
    return {key: value for key, value in model.model_config.unet_config.items() if key not in NOT_ARCHITECTURE}


def _is_narrow(model: ModelPatcher) -> bool:
    return model.model.model_config.quant_config is not None or model.model.get_dtype() in NARROW_DTYPES


def _storage(model: ModelPatcher) -> str:
    return (
        "quantised"
        if model.model.model_config.quant_config is not None
        else str(model.model.get_dtype()).removeprefix("torch.")
    )


def text_width(model: BaseModel) -> int | None:
    """The width of the text embedding that a UNet reads; None where the configuration does not say."""
    return model.model_config.unet_config.get("context_dim")
