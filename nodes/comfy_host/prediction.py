"""What a network puts out and at which noise levels, where a file's card says it and the host's detection cannot know.

The host takes every UNet of SD1.5's family for noise prediction, tells SD2's by the statistics of one bias and SDXL's by two
empty tensors.
"""

from __future__ import annotations

from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import EPS, V_PREDICTION, ModelSamplingDiscrete
from torch import nn

from ...domain_guidance.domain_card import DomainCard
from .trainable_copy import prediction_of


class NoiseSampling(ModelSamplingDiscrete, EPS):
    pass


class VelocitySampling(ModelSamplingDiscrete, V_PREDICTION):
    pass


# A flow model's architecture is no other's, so that the host knows it.
SAMPLINGS = {"epsilon": NoiseSampling, "v_prediction": VelocitySampling}


def has_zero_terminal_snr(sampling: nn.Module) -> bool:
    """Whether the noise levels end in pure noise (Lin et al. 2023, arXiv 2305.08891)."""
    return bool(getattr(sampling, "zsnr", False))


def predict_as(model: ModelPatcher, card: DomainCard) -> None:
    """Give the MODEL the sampling that its card tells of, as the host's ModelSamplingDiscrete node would."""
    detected = model.get_model_object("model_sampling")
    known = (prediction_of(detected), has_zero_terminal_snr(detected)) == (card.prediction, card.zero_terminal_snr)
    if card.prediction in SAMPLINGS and not known:
        sampling = SAMPLINGS[card.prediction](model.model.model_config, zsnr=card.zero_terminal_snr)
        model.add_object_patch("model_sampling", sampling)
