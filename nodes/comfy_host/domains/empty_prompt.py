"""The empty prompt as training needs it: one constant embedding, free of the graph that made it."""

from __future__ import annotations

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..guidance.conditioning import BEYOND_TEXT, TEXT

# Flux's distilled guidance: not text, but an input that training holds constant as well.
GUIDANCE = "guidance"
KEPT = TEXT - BEYOND_TEXT | {GUIDANCE}
DEFAULT_GUIDANCE = 3.5  # the host's, where a prompt says none


def empty_prompt(clip, conditioning: list | None) -> list:
    """[[cross_attn [1, T, D], {...}]] from a CLIP or from the encoded empty prompt, which wins where both are given."""
    if conditioning is None:
        conditioning = _from_text_encoder(clip)
    if len(conditioning) != 1 or conditioning[0][0] is None:
        raise ValueError(
            f"empty_conditioning contains {len(conditioning)} prompts, expected a single embedding: connect one "
            "CLIP Text Encode with no text."
        )
    cross_attn, rest = conditioning[0]
    return [[_own(cross_attn[:1]), {key: _own(value) for key, value in rest.items() if key in KEPT}]]


def _from_text_encoder(clip) -> list:
    if clip is None:
        raise ValueError(
            "Neither clip nor empty_conditioning is connected, but the domain needs the empty prompt: connect the "
            "model's CLIP, or a CLIP Text Encode with no text."
        )
    return clip.encode_from_tokens_scheduled(clip.tokenize(""))


def with_guidance(prompt: list, model: ModelPatcher, default: float | None = None) -> list:
    """`prompt` with a distilled guidance for a network that reads one (Flux), without for others.

    The guidance is the prompt's own, or else the default.
    """
    [[cross_attn, rest]] = prompt
    plain = {key: value for key, value in rest.items() if key != GUIDANCE}
    reads = model.model.model_config.unet_config.get("guidance_embed", False)
    guidance = rest.get(GUIDANCE, default) if reads else None
    return [[cross_attn, plain if guidance is None else {**plain, GUIDANCE: guidance}]]


def guidance_of(prompt: list) -> float | None:
    return prompt[0][1].get(GUIDANCE)


def pooled_of(prompt: list) -> Tensor | None:
    return prompt[0][1].get("pooled_output")


def _own(value):
    # What other nodes made are inference tensors, which autograd refuses to save.
    if not isinstance(value, Tensor):
        return value
    with torch.inference_mode(False):
        return value.detach().clone()
