"""Score distillation: a frozen diffusion model says how a generator's pictures should change."""

from .critic import BatchedGuidance, Critic
from .gradients import (
    denoised_to_noise,
    directional_gradient,
    likelihood_gradient,
    noise_ratio,
    reconstruction_gradient,
    score_gradient,
    unit_rms,
)
from .noise_range import NoiseRange
from .pixels import clip_to_percentile, critic_pixels
from .relative_distance import relative_distance_loss
from .step import Distillation, Distilled, distill

__all__ = [
    "BatchedGuidance",
    "Critic",
    "Distillation",
    "Distilled",
    "NoiseRange",
    "clip_to_percentile",
    "critic_pixels",
    "denoised_to_noise",
    "directional_gradient",
    "distill",
    "likelihood_gradient",
    "noise_ratio",
    "reconstruction_gradient",
    "relative_distance_loss",
    "score_gradient",
    "unit_rms",
]
