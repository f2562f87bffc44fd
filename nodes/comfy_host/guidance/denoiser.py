"""ComfyUI as a host of the `Denoiser` protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .weight_difference import WeightDifference

# Patches of a network's inside (IP-Adapter, FreeU, HyperTile): both sides of a term must have them. Wrappers and
# callbacks belong to the model they were made for (torch.compile swaps modules in, caches count its calls) and stay
# behind.
STRUCTURAL = ("patches", "patches_replace", "optimized_attention_override", "rope_options")


# How a long video is cut for an evaluation: where one side of a term is cut and the other is not, they differ by it.
CUTTING = ("context_handler",)


@dataclass(frozen=True)
class ComfyDenoiser:
    """D(x; sigma, entries) of one model, inside a running sampler.

    options: the host's model_options for this model. difference: what to add to the loaded weights first.
    """

    model: BaseModel
    options: dict[str, Any]
    difference: WeightDifference = field(default_factory=WeightDifference)

    def __call__(self, x: Tensor, sigma: Tensor, conditioning: list[dict], *, place: int = 1) -> Tensor:
        """The denoised prediction of x under encoded entries, like x, in fp32.

        x: [B, C, ...]. sigma: [B]. place: the index under which the model sees the condition, 0 as the sampler's
        positive, 1 as its negative; adapters such as IP-Adapter choose their image embedding by it.
        """
        batch = [None] * place + [conditioning]
        with self.difference.applied(self.model):
            return comfy.samplers.calc_cond_batch(self.model, batch, x, sigma, self.options)[place]


def own_options(model: ModelPatcher, sigmas: Tensor) -> dict[str, Any]:
    """model_options with which a MODEL other than the sampler's own is evaluated during a run."""
    options = comfy.model_patcher.create_model_options_clone(model.model_options)
    comfy.sampler_helpers.prepare_model_patcher(model, {}, options)
    comfy.samplers.cast_to_load_options(options, device=model.load_device, dtype=model.model_dtype())
    options["transformer_options"]["sample_sigmas"] = sigmas
    return options


def without_patches(options: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in options["transformer_options"].items() if key not in STRUCTURAL}
    return {**options, "transformer_options": kept}


def has_patches(options: dict[str, Any]) -> bool:
    return any(options["transformer_options"].get(key) for key in STRUCTURAL)


def inherit_patches(options: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """`options` with the base's structural patches added; one that both carry is applied once."""
    mine, theirs = options["transformer_options"], base["transformer_options"]
    inherited = {key: _merged(mine.get(key), theirs[key]) for key in STRUCTURAL if key in theirs}
    return {**options, "transformer_options": {**mine, **inherited}}


def cut_alike(options: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """`options` with the base's way of cutting long videos, or with none as the base."""
    kept = {key: value for key, value in options.items() if key not in CUTTING}
    return {**kept, **{key: base[key] for key in CUTTING if key in base}}


def _merged(mine, theirs):
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return {**mine, **{key: _merged(mine.get(key), value) for key, value in theirs.items()}}
    if isinstance(mine, list) and isinstance(theirs, list):
        return [patch for patch in mine if patch not in theirs] + theirs
    return theirs
