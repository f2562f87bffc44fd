"""Terms of side networks: a correction of a prediction that is there, instead of a prediction of another model."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST
from torch import Tensor

from ....domain_guidance.diffusion.parameterization import Prediction
from ....domain_guidance.side_networks import SideNetwork, corrected
from ..domains.side_network import SideDomain, check_latents, warn_of_other_base
from .terms import GuidanceTerm


@dataclass(frozen=True, kw_only=True)
class SideTerm(GuidanceTerm):
    """A `GuidanceTerm` whose prediction is its subtrahend, corrected.

    side: the network, with its card. takes_what_is_there: where the sampler makes no prediction of `minus` in a step,
    its prompt's is corrected, at no further evaluation.
    """

    side: SideDomain
    takes_what_is_there: bool = False


@dataclass(frozen=True, eq=False)
class Correction:
    """The network of one run, on the run's device. kind: says how the run's latents are noised."""

    network: SideNetwork = field(repr=False)
    kind: Prediction

    def __call__(self, x: Tensor, sigma: Tensor, reference: Tensor) -> Tensor:
        """The domain's prediction, like `reference`: the base's denoised prediction at (x, sigma), all [B, C, ...]."""
        return corrected(self.network, x.float(), sigma.float(), reference.float(), self.kind).to(reference)


def check_side(model: ModelPatcher, side: SideDomain, reference_model: ModelPatcher | None) -> None:
    """Raises ValueError, one sentence, if the network cannot correct the predictions of `model`."""
    check_latents(model.model, side, "model")
    base = model if reference_model is None else reference_model
    flow = isinstance(base.get_model_object("model_sampling"), CONST)
    if flow != (side.file.card.prediction == "flow"):
        kinds = {True: "flow", False: "noise- and velocity-prediction"}
        raise ValueError(
            f"'{side.name}' was trained on a {kinds[not flow]} model and model is a {kinds[flow]} model: they see "
            "differently noised pictures at one sigma, so connect a side network of the same kind as model."
        )
    warn_of_other_base(side, base)


def correction_of(term: GuidanceTerm, latent: Tensor) -> Correction | None:
    """What a side network's term does to its subtrahend; None for every other term. latent: of the run."""
    if not isinstance(term, SideTerm):
        return None
    # A copy for the run: a few MB, which leave the device with it.
    network = copy.deepcopy(term.side.file.network).to(latent.device)
    return Correction(network, term.side.file.card.prediction)
