"""A copy of a MODEL that can be trained: its own normal tensors, fully on the device, the user's MODEL untouched."""

from __future__ import annotations

import gc
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import torch
from comfy import model_detection
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher

from ..out_of_memory import out_of_memory

WIDE_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def check_can_be_copied(model: ModelPatcher) -> None:
    """Raises ValueError where this ComfyUI, or this MODEL's loader, has no way to read the weights a second time."""
    if "force_deepcopy" not in inspect.signature(ModelPatcher.clone).parameters:
        raise ValueError("Training needs ComfyUI 0.25 or newer, which can copy a model for it: update ComfyUI.")
    if model.cached_patcher_init is None:
        raise ValueError(
            "The loader of this model (GGUF and some others) cannot read its file a second time, which training "
            "needs: load the model with Load Checkpoint or Load Diffusion Model, and train an adapter."
        )


def copy_of(model: ModelPatcher) -> ModelPatcher:
    """The MODEL read again from its file, with its LoRAs, as a patcher whose weights autograd can see.

    Call it outside inference mode. The weights that a node receives are inference tensors, which cannot be trained, and
    on a GPU they may be paged in at use, with no link to a gradient.
    """
    copy = model.clone(disable_dynamic=True, force_deepcopy=True)
    # Computes in fp32 (autocast narrows it) whatever type the weights are kept in, which adapters in fp32 can be added
    # to.
    copy.set_model_compute_dtype(torch.float32)
    copy.model.requires_grad_(False)
    return copy


def check_wide(model: ModelPatcher, form: str) -> None:
    """Raises ValueError if the weights are kept in a type too narrow to be trained themselves."""
    network = model.model.diffusion_model
    narrow = {str(p.dtype).removeprefix("torch.") for p in network.parameters() if p.dtype not in WIDE_DTYPES}
    if model.model.model_config.quant_config is not None:
        narrow.add("quantised")
    if narrow:
        raise ValueError(
            f"The model's weights are {', '.join(sorted(narrow))}, too narrow for the form '{form}', which trains "
            "the weights themselves: choose the form 'adapter', or load the model with weight_dtype default."
        )


def check_can_be_read(model: ModelPatcher) -> None:
    """Raises ValueError if the host would not know the network again in a file of its own."""
    saved = model.model.model_config.process_unet_state_dict_for_saving(dict(model.model.diffusion_model.state_dict()))
    if model_detection.model_config_from_unet(saved, model_detection.unet_prefix_from_state_dict(saved)) is None:
        raise ValueError(
            "ComfyUI's loaders would not recognise a file with this network "
            f"({type(model.model.model_config).__name__}), so it cannot be saved whole as a domain: train the form "
            "'adapter', or connect a LoRA on it to domain_model."
        )


def unload_all() -> None:
    """Take every model off the device.

    The host walks over a list from which a model vanishes when it is collected as garbage, and fails where that happens
    meanwhile. So it is collected before.
    """
    gc.collect()
    comfy.model_management.unload_all_models()


def load_whole(models: list[ModelPatcher]) -> None:
    """Put models on the device in full, everything else off it. Raises ValueError where they do not fit."""
    unload_all()
    size = sum(model.model_size() for model in models) / 2**30
    with out_of_memory(
        lambda: (
            f"The model takes {size:.1f} GiB and does not fit on the device as a whole, which training needs: load "
            "it with weight_dtype fp8_e4m3fn and train the form 'adapter'."
        )
    ):
        comfy.model_management.load_models_gpu(models, memory_required=1e20, force_full_load=True)
        for model in models:  # with --novram the host leaves even these off the device
            model.partially_load(model.load_device, math.inf)


@contextmanager
def training_mode() -> Iterator[None]:
    """Tells the host's networks to use operations that have a gradient."""
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True
    try:
        yield
    finally:
        comfy.model_management.in_training = before


def check_image_model(model: BaseModel) -> None:
    """Raises ValueError for models of sound or shapes; one of video learns from pictures as from single frames."""
    if model.latent_format.latent_dimensions not in (2, 3):
        raise ValueError(
            "The model makes neither images nor video, but a domain is trained from images: connect an image or video "
            "model."
        )
