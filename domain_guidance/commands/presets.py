"""Named settings of the train command."""

from __future__ import annotations

from typing import Any

# arXiv 2312.08195, as far as its released training says; steps and total batch time are unknown there.
IN_DOMAIN_2025: dict[str, Any] = {
    "form": "text-free",
    "resolution": 512,
    "buckets": "shorter-side",
    "batch_size": 32,
    "learning_rate": 1e-5,
    "schedule": "constant",
    "warmup": 0,
    "weight_decay": 1e-2,
    "max_gradient_norm": 1.0,
    "precision": "fp16",
    "eight_bit_adam": True,
    "mirror": 0.5,
    "min_snr": 0.0,
}

PRESETS = {"in-domain-2025": IN_DOMAIN_2025}
