"""What a network puts out and at which noise levels, where a file's card says it and the host's detection cannot know.

The host takes every UNet of SD1.5's family for noise prediction, tells SD2's by the statistics of one bias and SDXL's
by two empty tensors.
"""

from __future__ import annotations

from typing import Protocol

from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST, EPS, V_PREDICTION, ModelSamplingDiscrete
from torch import Tensor

from ....domain_guidance.diffusion.parameterization import Prediction
from ....domain_guidance.domains.card import DomainCard


class NoiseSampling(ModelSamplingDiscrete, EPS):
    pass


class VelocitySampling(ModelSamplingDiscrete, V_PREDICTION):
    pass


class HostSampling(Protocol):
    """What the noise levels of a MODEL are, and how its network is told one."""

    @property
    def sigmas(self) -> Tensor: ...

    def timestep(self, sigma: Tensor) -> Tensor: ...


# A flow model's architecture is no other's, so that the host knows it.
SAMPLINGS = {"epsilon": NoiseSampling, "v_prediction": VelocitySampling}


def prediction_of(sampling: object) -> Prediction:
    """What the network puts out, told by the host's own formula.

    Raises ValueError for kinds that the loss does not know.
    """
    kinds: dict[object, Prediction] = {
        EPS.calculate_denoised: "epsilon",
        V_PREDICTION.calculate_denoised: "v_prediction",
        CONST.calculate_denoised: "flow",
    }
    kind = kinds.get(getattr(type(sampling), "calculate_denoised", None))
    plain = getattr(sampling, "sigma_data", 1.0) == 1.0 and getattr(sampling, "noise_scale", 1.0) == 1.0
    if kind is None or not plain:
        raise ValueError(
            f"The model's sampling is of the kind {type(sampling).__mro__[-3].__name__}, but noise prediction, "
            "velocity or flow is expected: connect a model of one of these kinds, without a ModelSampling node "
            "that changes it."
        )
    return kind


def has_zero_terminal_snr(sampling: object) -> bool:
    """Whether the noise levels end in pure noise (Lin et al. 2023, arXiv 2305.08891)."""
    return bool(getattr(sampling, "zsnr", False))


def predict_as(model: ModelPatcher, card: DomainCard) -> None:
    """Give the MODEL the sampling that its card tells of, as the host's ModelSamplingDiscrete node would."""
    detected = model.get_model_object("model_sampling")
    known = (prediction_of(detected), has_zero_terminal_snr(detected)) == (card.prediction, card.zero_terminal_snr)
    if card.prediction in SAMPLINGS and not known:
        sampling = SAMPLINGS[card.prediction](model.model.model_config, zsnr=card.zero_terminal_snr)
        model.add_object_patch("model_sampling", sampling)
