"""A domain file from any MODEL: a fine-tuned checkpoint, a merge, a base with a LoRA on it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.domains.card import DomainCard
from ....domain_guidance.domains.domain_file import write_domain_file
from ....domain_guidance.domains.text_free import VALUES
from ....domain_guidance.domains.training_forms import is_adapter
from ..free_names import check_name, claimed_name
from ..guidance.terms import terms_of
from ..training.forms import model_name
from ..training.trainable_copy import check_can_be_read
from .empty_prompt import empty_prompt, guidance_of, stored_prompt, with_guidance
from .origin import DomainOrigin, host_prefix, origin_of
from .origin import base_fingerprint as fingerprint_of_base
from .prediction import edm_levels, has_zero_terminal_snr, known_prediction
from .side_network import check_no_side


def save_domain(model: ModelPatcher, clip, conditioning: list | None, base: ModelPatcher | None, name: str) -> Path:
    """Writes output/diffusion_models/<name>.safetensors, or the first free <name>-2, ..., and answers with its path.

    conditioning: the encoded empty prompt, instead of clip; a MODEL of a domain file brings its own. base: what the
    MODEL was trained from, left out where it is a LoRA on its own base. Raises ValueError, one sentence.
    """
    check_name(name)
    _check_can_be_saved(model)
    origin = origin_of(model)
    empty = origin.empty if origin and clip is None and conditioning is None else empty_prompt(clip, conditioning)
    empty = with_guidance(empty, model)
    sampling, prefix = model.get_model_object("model_sampling"), host_prefix(model)
    prediction, weights = known_prediction(model), _weights(model, prefix)
    base_fingerprint, base_name = _base(model, base, origin)
    card = DomainCard(
        form="text-free" if _reads_no_text(weights) else "text-based",
        prediction=prediction,
        zero_terminal_snr=has_zero_terminal_snr(sampling),
        edm_levels=edm_levels(sampling),
        key_prefix=prefix,
        guidance=guidance_of(empty),
        training={"form": "saved from a model", "images": 0},
        base_fingerprint=base_fingerprint,
        base_name=base_name,
    )
    return _written(name, weights, card, stored_prompt(empty))


def _written(name: str, weights: dict[str, Tensor], card: DomainCard, prompt: dict[str, Any]) -> Path:
    folder = os.path.join(folder_paths.get_output_directory(), "diffusion_models")
    while True:
        with (
            claimed_name("diffusion_models", folder, name, "new version") as files,
            files.writing(),
            suppress(FileExistsError),  # a file that got the name meanwhile: the next version is free
        ):
            write_domain_file(files.result, weights, card=card, free=True, **prompt)
            return files.result


def _check_can_be_saved(model: ModelPatcher) -> None:
    if terms_of(model):
        raise ValueError(
            "The model has domain guidance applied, which acts on a sampler and is not part of the weights: "
            "connect the model from before Apply Domain Guidance."
        )
    check_no_side(model, "connect a model whose own weights are the domain, since a side network is a file already")
    if model.model.model_config.quant_config is not None:
        raise ValueError(
            "The model is quantised, and a domain file cannot store quantised weights: load it with weight_dtype "
            "default from a file that is not quantised."
        )
    check_can_be_read(model)


def _base(model: ModelPatcher, base: ModelPatcher | None, origin: DomainOrigin | None) -> tuple[str, str]:
    """Fingerprint and name of what the MODEL was trained from."""
    # A LoRA's base is what it sits on, whoever trained it.
    if base is None and origin is not None and not is_adapter(origin.card):
        return origin.card.base_fingerprint, origin.card.base_name
    return fingerprint_of_base(base or model), model_name(base or model)


def _weights(model: ModelPatcher, prefix: str) -> dict[str, Tensor]:
    """The network's weights with every LoRA in them, on the CPU, named as the host's loaders read them."""
    comfy.model_management.load_models_gpu([model])
    state = model.state_dict_for_saving()
    # The host hands out some weights as promises, which their `to` keeps.
    return {key: tensor.to("cpu") for key, tensor in state.items() if key.startswith(prefix)}


def _reads_no_text(weights: dict[str, Tensor]) -> bool:
    values = [tensor for name, tensor in weights.items() if name.endswith(f"attn2.{VALUES}")]
    return bool(values) and not any(tensor.float().count_nonzero() for tensor in values)
