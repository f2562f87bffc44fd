"""The toy world's models as critics of a generator: a prompt, or the domain without any text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction
from ..diffusion.sampling import Denoise
from ..distillation import BatchedGuidance
from ..guidance import GuidedDenoiser
from .comparison import ToyModels
from .prompts import encode_prompt


@dataclass(frozen=True)
class ToyCritic:
    """An `adaptation.CriticModel` whose latents are the pixels."""

    guided: Denoise
    schedule: NoiseSchedule
    identity: Mapping[str, Any]
    prediction: Prediction = "epsilon"
    device: torch.device = torch.device("cpu")

    def denoise(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        return self.guided(noisy, sigma)

    def encode(self, pixels: Tensor) -> Tensor:
        return pixels


def prompt_critic(models: ToyModels, cfg: float, **prompt: Any) -> ToyCritic:
    """The base with classifier-free guidance. prompt: `digit`, `stroke`, `ground` as `encode_prompt` takes them."""
    guided = BatchedGuidance(models.base, encode_prompt(models.table, **prompt), models.empty, cfg)
    return ToyCritic(guided, models.schedule, {"cfg": cfg, **prompt})


def domain_critic(models: ToyModels, weight: float) -> ToyCritic:
    """D_base(empty) + weight [D_domain - D_base(empty)]: no text anywhere."""
    guided = GuidedDenoiser(models.base, models.domain, models.empty, models.empty, weight)
    return ToyCritic(guided, models.schedule, {"domain": "plates", "weight": weight})
