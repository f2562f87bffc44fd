"""Terms of side networks: a correction of a prediction that is there, instead of a prediction of another model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import comfy.utils
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.diffusion.parameterization import Prediction
from ....domain_guidance.side_networks import SideNetwork, corrected
from ..domains.prediction import as_the_loss_counts, prediction_of
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
    """The network of one run, on the run's device.

    kind: says how the run's latents are noised. sampling: the sampler's model_sampling, which counts their noise.
    shapes: of each stream that is packed into one latent; the first is of the images.
    """

    network: SideNetwork = field(repr=False)
    kind: Prediction
    sampling: object = field(repr=False)
    shapes: Sequence[Sequence[int]]

    def __call__(self, x: Tensor, sigma: Tensor, reference: Tensor) -> Tensor:
        """The domain's prediction, like `reference`: the base's denoised prediction at (x, sigma), all [B, C, ...]."""
        if len(self.shapes) == 1:
            return self._of_images(x, sigma, reference)
        noisy, (images, *others) = (comfy.utils.unpack_latents(packed, self.shapes) for packed in (x, reference))
        return comfy.utils.pack_latents([self._of_images(noisy[0], sigma, images), *others])[0]

    def _of_images(self, x: Tensor, sigma: Tensor, reference: Tensor) -> Tensor:
        x, sigma = as_the_loss_counts(self.sampling, x.float(), sigma.float())
        return corrected(self.network, x, sigma, reference.float(), self.kind).to(reference)


def check_side(model: ModelPatcher, side: SideDomain, reference_model: ModelPatcher | None) -> None:
    """Raises ValueError, one sentence, if the network cannot correct the predictions of `model`."""
    check_latents(model.model, side, "model")
    base = model if reference_model is None else reference_model
    flow = prediction_of(base.get_model_object("model_sampling")) == "flow"
    if flow != (side.file.card.prediction == "flow"):
        kinds = {True: "flow", False: "noise- and velocity-prediction"}
        raise ValueError(
            f"'{side.name}' was trained on a {kinds[not flow]} model and model is a {kinds[flow]} model: they see "
            "differently noised pictures at one sigma, so connect a side network of the same kind as model."
        )
    warn_of_other_base(side, base)


def correction_of(
    term: GuidanceTerm, latent: Tensor, sampling: object, shapes: Sequence[Sequence[int]]
) -> Correction | None:
    """What a side network's term does to its subtrahend; None for every other term.

    latent: of the run. sampling, shapes: as of `Correction`.
    """
    if not isinstance(term, SideTerm):
        return None
    # A copy for the run: a few MB, which leave the device with it.
    network = copy.deepcopy(term.side.file.network).to(latent.device)
    return Correction(network, term.side.file.card.prediction, sampling, shapes)
