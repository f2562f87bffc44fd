"""A MODEL of a small world's UNet, built by hand: the host's detection knows none this small."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...domain_guidance.domains.unet_layouts import HOST_PREFIX


def small_model(
    config: comfy.supported_models_base.BASE,
    weights: Mapping[str, Tensor],
    load: Callable[..., ModelPatcher],
    disable_dynamic: bool,
) -> ModelPatcher:
    """A MODEL in fp32 with `weights` in the host's layout.

    load: makes the same MODEL again, with `disable_dynamic` as a keyword; the host makes further copies through it
    (torch.compile, hooks, several GPUs).
    """
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({})
    model.load_model_weights({name.removeprefix(HOST_PREFIX): tensor for name, tensor in weights.items()})
    make = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = make(model, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device())
    patcher.cached_patcher_init = (load, ())
    return patcher
