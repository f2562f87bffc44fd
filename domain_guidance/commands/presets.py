"""Named settings of the commands train and adapt."""

from __future__ import annotations

from typing import Any

from ..domains.training_forms import TEXT_FREE

# arXiv 2312.08195, as far as its released training says; steps and total batch time are unknown there.
IN_DOMAIN_2025: dict[str, Any] = {
    "form": TEXT_FREE,
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
    "time_sampling": "uniform",
}

PRESETS = {"in-domain-2025": IN_DOMAIN_2025}

# arXiv 2212.04473 and its release; for faces and EG3D the weight of the perceptual term is not known.
STYLEGAN_FUSION: dict[str, Any] = {
    "resolution": 512,
    "cfg": 100.0,
    "score": "sds",
    "percentile": 0.95,
    "batch_size": 1,
    "learning_rate": 8e-4,
    "truncation": 1.0,
    "precision": "fp32",
}
STYLEGAN_FUSION_FACES: dict[str, Any] = {
    **STYLEGAN_FUSION,
    "steps": 1001,
    "range": (0.01, 0.5),
    "directional": 1.0,
    "reconstruction": 1.0,
}
STYLEGAN_FUSION_CATS: dict[str, Any] = {
    **STYLEGAN_FUSION,
    "steps": 2001,
    "range": (0.01, 0.3),
    "reconstruction": 0.5,
    "perceptual": 0.3,
}
# The release divides all of its terms by 100 here, before it clamps them.
STYLEGAN_FUSION_EG3D: dict[str, Any] = {
    **STYLEGAN_FUSION,
    "steps": 5001,
    "range": (0.01, 0.5),
    "directional": 0.5,
    "unit_score": True,
    "unit_directional": True,
    "scale": 0.01,
    "percentile": 1.0,
}

ADAPT_PRESETS = {
    "stylegan-fusion-faces": STYLEGAN_FUSION_FACES,
    "stylegan-fusion-cats": STYLEGAN_FUSION_CATS,
    "stylegan-fusion-eg3d": STYLEGAN_FUSION_EG3D,
}
