"""How much of the device an adaptation takes beside its critic, which the host has to leave free when it loads that."""

from __future__ import annotations

from ....domain_guidance.adaptation import AdaptationSettings
from ....domain_guidance.generators import GeneratorFile
from .differentiable_vae import DifferentiableVae
from .pictures import memory_needed

COPIES = 6  # of the weights: source, adapted, gradient, two moments, average


def adaptation_memory(file: GeneratorFile, vae: DifferentiableVae, settings: AdaptationSettings) -> int:
    """Bytes, rather too many than too few: the VAE comes to a small device after all else."""
    weights = COPIES * sum(4 * tensor.numel() for tensor in file.weights.values())
    pictures = settings.batch_size * memory_needed(file.card.config, gradient=True)
    return (
        weights
        + pictures
        + vae.patcher.model_size()
        + vae.memory(settings.batch_size, settings.distillation.resolution)
    )
