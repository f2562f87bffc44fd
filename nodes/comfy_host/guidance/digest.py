"""A digest of what other nodes put on a MODEL or a prompt, which is the same in every session."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any

import torch
from comfy.controlnet import ControlBase
from comfy.hooks import HookGroup, WeightHook
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import WeightAdapterBase
from torch import Tensor, nn

from ....domain_guidance.domains.fingerprint import fingerprint
from ..domains.origin import base_fingerprint
from .terms import terms_of

ELEMENTS = 65_536  # of a tensor, evenly spaced; prompts have fewer
DEPTH = 16
PLAIN = (type(None), bool, int, float, str)


def digest(value: Any) -> str:
    """16 hexadecimal digits of whatever a graph can hold. What has no content that can be told counts by its type."""
    total = hashlib.sha256()
    for part in _parts(value, DEPTH):
        total.update(part)
        total.update(b"\0")
    return total.hexdigest()[:16]


def _parts(value: Any, depth: int) -> Iterator[bytes]:
    yield type(value).__name__.encode()
    if isinstance(value, PLAIN):
        yield repr(value).encode()
    elif isinstance(value, Tensor):
        yield from _tensor(value)
    elif depth:
        for part in _content(value):
            yield from _parts(part, depth - 1)


def _content(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        known = [key for key in value if isinstance(key, (*PLAIN, tuple))]
        for key in sorted(known, key=repr):
            yield from (key, value[key])
    elif isinstance(value, list | tuple):
        yield from value
    elif isinstance(value, ModelPatcher):
        yield from (base_fingerprint(value), patches_of(value), terms_of(value))
    elif isinstance(value, WeightAdapterBase):
        yield from (value.name, value.weights)
    elif isinstance(value, ControlBase):
        yield from _control(value)
    elif isinstance(value, HookGroup):
        yield from value.hooks
    elif isinstance(value, WeightHook):
        # Not the property, which follows a run through its keyframes.
        yield from (
            value._strength_model,
            value.weights,
            *((each.start_percent, each.strength) for each in value.hook_keyframe.keyframes),
        )
    elif isinstance(value, nn.Module):
        yield fingerprint(value.state_dict())
    elif isinstance(value, FunctionType):
        yield from (value.__module__.rpartition(".")[2], value.__qualname__, *_enclosed(value))
    elif is_dataclass(value):
        yield from (getattr(value, field.name) for field in fields(value))
    elif callable(value) and hasattr(value, "__dict__"):
        yield from _given(value)


def patches_of(model: ModelPatcher) -> tuple:
    """All that other nodes put on a MODEL for a sampler."""
    return model.patches, model.model_options, model.wrappers, model.object_patches, model.weight_wrapper_patches


def _control(control: ControlBase) -> Iterator[Any]:
    """What a user set; the rest of it changes while it runs."""
    yield from (
        control.strength,
        control.timestep_percent_range,
        control.cond_hint_original,
        getattr(control, "control_model", None),
    )
    yield control.previous_controlnet


def _enclosed(function: FunctionType) -> Iterator[Any]:
    """The settings of a patch that a node made. Lists and objects are passed over: they may be what it counts with."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        if isinstance(cell.cell_contents, (*PLAIN, Tensor, tuple, dict)):
            yield from (name, cell.cell_contents)


def _given(patch: Any) -> Iterator[Any]:
    """The settings of a patch that is an object, such as IP-Adapter's, which holds the picture: tensors and mappings.

    Plain attributes are passed over: they may be what it counts with.
    """
    for name, attribute in sorted(vars(patch).items()):
        for part in attribute if isinstance(attribute, list | tuple) else (attribute,):
            if isinstance(part, Tensor | Mapping):
                yield from (name, part)


def _tensor(tensor: Tensor) -> Iterator[bytes]:
    yield repr((tensor.dtype, list(tensor.shape))).encode()
    if not tensor.is_meta:
        flat = tensor.detach().flatten()
        yield flat[:: max(1, flat.numel() // ELEMENTS)].to("cpu", torch.float64).numpy().tobytes()
