"""What a network puts out and at which noise levels, where a file's card says it and the host's detection cannot know.

The host takes every UNet of SD1.5's family for noise prediction, tells SD2's by the statistics of one bias and SDXL's
by two empty tensors.
"""

from __future__ import annotations

from typing import Any, Protocol

import comfy.model_sampling
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST, EPS, V_PREDICTION, ModelSamplingContinuousEDM, ModelSamplingDiscrete
from torch import Tensor

from ....domain_guidance.diffusion.parameterization import Prediction
from ....domain_guidance.domains.card import DomainCard


class NoiseSampling(ModelSamplingDiscrete, EPS):
    pass


class VelocitySampling(ModelSamplingDiscrete, V_PREDICTION):
    pass


class EdmVelocitySampling(ModelSamplingContinuousEDM, V_PREDICTION):
    pass


class HostSampling(Protocol):
    """What the noise levels of a MODEL are, and how its network is told one."""

    @property
    def sigmas(self) -> Tensor: ...

    def timestep(self, sigma: Tensor) -> Tensor: ...


# A flow model's architecture is no other's, so that the host knows it.
SAMPLINGS = {"epsilon": NoiseSampling, "v_prediction": VelocitySampling}


def prediction_of(sampling: object, *, changed: bool = False) -> Prediction:
    """What the network puts out, told by the host's own formula.

    changed: by a node on the MODEL. Raises ValueError for kinds that the loss does not know.
    """
    kinds: dict[object, Prediction] = {
        EPS.calculate_denoised: "epsilon",
        V_PREDICTION.calculate_denoised: "v_prediction",
        CONST.calculate_denoised: "flow",
    }
    if _is_cosmos(sampling):
        return "flow"
    kind = kinds.get(getattr(type(sampling), "calculate_denoised", None))
    plain = getattr(sampling, "sigma_data", 1.0) == 1.0 and getattr(sampling, "noise_scale", 1.0) == 1.0
    # Levels that are neither the family's own nor evenly spaced in log sigma have no place on the card.
    levels = not isinstance(sampling, ModelSamplingContinuousEDM) or _is_edm(sampling)
    if kind is None or not plain or not levels:
        way_out = (
            "remove the ModelSampling node in front"
            if changed
            else "guide it by a prompt with Domain Guidance Term, or connect a model of another family"
        )
        raise ValueError(
            "The model turns its output into an image in a way of its own (as Playground 2.5, Cosmos 1 and Stable "
            "Video Diffusion do), but a domain is trained and saved for noise prediction, velocity or flow in their "
            f"usual scale: {way_out}."
        )
    return kind


def known_prediction(model: ModelPatcher) -> Prediction:
    """`prediction_of` a MODEL's own sampling."""
    return prediction_of(model.get_model_object("model_sampling"), changed="model_sampling" in model.object_patches)


def training_levels(sampling: HostSampling) -> Tensor:
    """The noise levels [T], rising, as the loss of the kind counts them; the host counts Cosmos' flow from 0 to 80."""
    levels = sampling.sigmas.detach().float().cpu().clone()
    return levels / (levels + 1) if _is_cosmos(sampling) else levels


def as_the_loss_counts(sampling: object, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The host's noisy latents x [B, C, ...] and levels [B] as the arithmetic of the kind knows them."""
    if not _is_cosmos(sampling):
        return x, sigma
    return x / (1 + _over(x, sigma)), sigma / (1 + sigma)


def as_the_host_counts(sampling: object, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `as_the_loss_counts`."""
    if not _is_cosmos(sampling):
        return x, sigma
    return x / (1 - _over(x, sigma)), sigma / (1 - sigma)


def has_zero_terminal_snr(sampling: object) -> bool:
    """Whether the noise levels end in pure noise (Lin et al. 2023, arXiv 2305.08891)."""
    return bool(getattr(sampling, "zsnr", False))


def edm_levels(sampling: Any) -> tuple[float, float] | None:
    """The lowest and the highest of continuous levels (CosXL); None for other kinds."""
    if not _is_edm(sampling):
        return None
    return float(sampling.sigma_min), float(sampling.sigma_max)


def predict_as(model: ModelPatcher, card: DomainCard) -> None:
    """Give the MODEL the sampling that its card tells of, as the host's ModelSampling nodes would."""
    if card.prediction not in SAMPLINGS:
        return
    detected, levels = model.get_model_object("model_sampling"), card.edm_levels and tuple(card.edm_levels)
    found = (prediction_of(detected), has_zero_terminal_snr(detected), edm_levels(detected))
    if found == (card.prediction, card.zero_terminal_snr, levels):
        return
    config = model.model.model_config
    if levels:
        sampling = EdmVelocitySampling(config)
        sampling.set_parameters(*levels, 1.0)
    else:
        sampling = SAMPLINGS[card.prediction](config, zsnr=card.zero_terminal_snr)
    model.add_object_patch("model_sampling", sampling)


def _over(x: Tensor, sigma: Tensor) -> Tensor:
    return sigma.to(x).view(-1, *[1] * (x.ndim - 1))


def _is_edm(sampling: Any) -> bool:
    return type(sampling).timestep is ModelSamplingContinuousEDM.timestep


def _is_cosmos(sampling: Any) -> bool:
    """Cosmos Predict 2: a flow whose time the host counts as time / (1 - time)."""
    cosmos = getattr(comfy.model_sampling, "COSMOS_RFLOW", None)
    return cosmos is not None and type(sampling).calculate_denoised is cosmos.calculate_denoised
