"""The empty prompt as training needs it: one constant embedding, free of the graph that made it."""

from __future__ import annotations

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sampler_helpers import convert_cond
from torch import Tensor

from ....domain_guidance.domains.prompt import is_plain
from ..guidance.conditioning import BEYOND_TEXT, OF_THE_HOST, STRUCTURE

# Flux's distilled guidance: not text, but an input that training holds constant as well.
GUIDANCE = "guidance"
LEFT_OUT = (STRUCTURE | BEYOND_TEXT | OF_THE_HOST) - {GUIDANCE}


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
    # Whatever an encoder puts beside its embedding is part of what the prompt says.
    kept = {key: _own(value) for key, value in rest.items() if key not in LEFT_OUT and is_plain(value)}
    return [[_own(cross_attn[:1]), kept]]


def _from_text_encoder(clip) -> list:
    if clip is None:
        raise ValueError(
            "Neither clip nor empty_conditioning is connected, but the domain needs the empty prompt: connect the "
            "model's CLIP, or a CLIP Text Encode with no text."
        )
    return clip.encode_from_tokens_scheduled(clip.tokenize(""))


def with_guidance(prompt: list, model: ModelPatcher, *, default: bool = False) -> list:
    """`prompt` with a distilled guidance for a network that reads one (Flux), without for others.

    default: where the prompt has none it is the host's, which differs between families.
    """
    [[cross_attn, rest]] = prompt
    plain = {key: value for key, value in rest.items() if key != GUIDANCE}
    if not model.model.model_config.unet_config.get("guidance_embed", False):
        return [[cross_attn, plain]]
    guidance = rest.get(GUIDANCE, _hosts_guidance(prompt, model) if default else None)
    return [[cross_attn, plain if guidance is None else {**plain, GUIDANCE: guidance}]]


def _hosts_guidance(prompt: list, model: ModelPatcher) -> float | None:
    """What the host feeds to the network beside a prompt that says nothing of it."""
    channels, video = model.model.latent_format.latent_channels, model.model.latent_format.latent_dimensions == 3
    latent = torch.zeros(1, channels, *((1,) if video else ()), 16, 16)
    encoded = comfy.samplers.encode_model_conds(
        model.model.extra_conds,
        convert_cond(prompt),
        latent,
        latent.device,
        "negative",
        latent_image=latent,
        denoise_mask=None,
        seed=0,
    )
    guidance = encoded[0]["model_conds"].get(GUIDANCE)
    return None if guidance is None else float(guidance.cond)


def guidance_of(prompt: list) -> float | None:
    return prompt[0][1].get(GUIDANCE)


def stored_prompt(prompt: list) -> dict:
    """The prompt as the arguments of the library's writers; the guidance is on the card."""
    [[cross_attn, rest]] = prompt
    beside = {key: value for key, value in rest.items() if key not in ("pooled_output", GUIDANCE)}
    return {"cross_attn": cross_attn, "pooled_output": rest.get("pooled_output"), "beside": beside}


def _own(value):
    # What other nodes made are inference tensors, which autograd refuses to save.
    if not isinstance(value, Tensor):
        return value
    with torch.inference_mode(False):
        return value.detach().clone()
