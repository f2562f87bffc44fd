"""Pictures with sound beside them: nested in a LATENT, and packed into one tensor while the host samples them."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.utils
from comfy.model_base import BaseModel
from comfy.nested_tensor import NestedTensor
from torch import Tensor


def pictures_of(samples: Tensor | NestedTensor) -> Tensor:
    """The samples of a LATENT without the sound beside them, [B, C, ...]."""
    return samples.unbind()[0] if samples.is_nested else samples


def packed_shapes(base: BaseModel, prompts: dict[str, list[dict]]) -> list | None:
    """Of each stream, where pictures and sound are packed into one latent.

    ComfyUI before 0.33 says it to the encoded prompts and not to the model.
    """
    told = (entry.get("model_conds", {}).get("latent_shapes") for prompt in prompts.values() for entry in prompt)
    return getattr(base, "latent_shapes", None) or next((shapes.cond for shapes in told if shapes is not None), None)


def unpacked_pictures(latent: Tensor, shapes: Sequence[Sequence[int]] | None) -> Tensor:
    """The pictures [B, C, ...] within the latent of a run. shapes: of its `packed_shapes`."""
    return latent if shapes is None else comfy.utils.unpack_latents(latent, shapes)[0]
