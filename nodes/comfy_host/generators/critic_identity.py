"""What a critic is, in plain values that are the same in every session.

A run goes on only with the critic that it began with.
"""

from __future__ import annotations

from typing import Any

import comfy.sd
from comfy.model_patcher import ModelPatcher

from ..domains.origin import base_fingerprint
from ..guidance.digest import digest, patches_of
from ..guidance.terms import terms_of
from .differentiable_vae import vae_fingerprint


def critic_identity(
    model: ModelPatcher, vae: comfy.sd.VAE, positive: list, negative: list, cfg: float
) -> dict[str, Any]:
    """Plain JSON values; a user reads the names when one differs.

    Of what other nodes put on the MODEL it holds what can be told.
    """
    return {
        "model": _weights(model),
        "LoRAs and patches on the model": digest(patches_of(model)),
        "noise levels of the model": digest(model.get_model_object("model_sampling").sigmas),
        "domain weights": [term.weight for term in terms_of(model)],
        "domain terms": digest(terms_of(model)),
        "positive prompt": digest(positive),
        "negative prompt": digest(negative),
        "cfg": cfg,
        "VAE": vae_fingerprint(vae),
    }


def _weights(model: ModelPatcher) -> str:
    """The fingerprint, or the model's kind and size where the weights cannot be read (packed, or not loaded)."""
    return base_fingerprint(model) or f"{type(model.model).__name__} of {model.model_size()} bytes"
