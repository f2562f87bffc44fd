"""Sampling in which the views of one mesh agree: a patch on a MODEL.

At every step the denoised predictions of all views are averaged where they show the same point of the surface.
Averaging commutes with the scale and shift of a latent format, so it is done in the sampler's own scale.
"""

from __future__ import annotations

import math

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....domain_guidance.meshes import Correspondence, MeshError, correspond
from ..node_text import Say, tell
from .mesh import MeshViews

KEY = "domain_guidance.views"


class Synchroniser:
    """Averages denoised predictions over the views, within a range of the sampling.

    share: of the average in what is answered, 0 to 1. start, end: as shares of the sampling, 0 to 1.
    """

    def __init__(self, mesh_views: MeshViews, share: float, start: float, end: float):
        self.mesh_views, self.share, self.start, self.end = mesh_views, share, start, end
        self._found: Correspondence | None = None

    def apply(self, denoised: Tensor, sigma: Tensor, model_sampling) -> Tensor:
        """Predictions [V, C, h, w] or [V, C, 1, h, w] at noise level `sigma` [V]. Raises MeshError for others."""
        level = float(sigma.max())
        # A flow model's first level may round to just above the 1 that is its percent 0.
        highest = model_sampling.percent_to_sigma(self.start) if self.start > 0 else math.inf
        if not model_sampling.percent_to_sigma(self.end) <= level <= highest:
            return denoised
        flat = self.pictures(denoised)
        averaged = self._correspondence(flat).average(flat)
        return torch.lerp(flat, averaged, self.share).view_as(denoised)

    def pictures(self, denoised: Tensor) -> Tensor:
        """Latents of the views as [V, C, h, w]. Raises MeshError, one sentence, for any others."""
        views = self.mesh_views.views
        if len(denoised) != len(views):
            raise MeshError(
                f"{len(denoised)} latents are sampled, but Synchronise Views has {len(views)} views: give the empty "
                f"latent a batch_size of {len(views)}."
            )
        if denoised.ndim == 5 and denoised.shape[2] == 1:
            denoised = denoised.squeeze(2)  # one picture is a video of one frame
        if denoised.ndim != 4:
            raise MeshError(
                f"The latents have the shape {list(denoised.shape)}, but views are pictures, [views, channels, height, "
                "width]: use an image model."
            )
        height, width = denoised.shape[2:]
        if abs(height * views.width - width * views.height) > max(views.width, views.height):
            raise MeshError(
                f"The latents are {width} x {height} cells, but the views are {views.width} x {views.height} pixels: "
                "give the empty latent the views' width and height."
            )
        return denoised

    def _correspondence(self, pictures: Tensor) -> Correspondence:
        height, width = pictures.shape[2:]
        if self._found is None or self._found.covered.shape[1:] != (height, width):
            self._found = correspond(
                self.mesh_views.surface,
                self.mesh_views.views.at(height, width),
                check=comfy.model_management.throw_exception_if_processing_interrupted,
            )
        return self._found


def synchronised(
    model: ModelPatcher, mesh_views: MeshViews, share: float, start: float, end: float, say: Say
) -> ModelPatcher:
    """A clone of `model` whose samplings keep the views in agreement.

    A share of 0, or an end that is not after the start, patches nothing, and that is said.
    """
    patched = model.clone()
    if share == 0:  # meant so, and no matter for the log
        say("Nothing changes, because share is 0; raise it to synchronise the views.")
        return patched
    if start >= end:
        tell(say, f"Nothing changes, because end is {end:g} and start is {start:g}; set end above start.")
        return patched
    synchroniser = Synchroniser(mesh_views, share, start, end)

    def agree(executor, x, timestep, model_options={}, seed=None):  # noqa: B006 (the host's own signature)
        synchroniser.pictures(x)  # refused before the model is asked
        denoised = executor(x, timestep, model_options, seed)
        return synchroniser.apply(denoised, timestep, executor.class_obj.inner_model.model_sampling)

    patched.remove_wrappers_with_key(WrappersMP.PREDICT_NOISE, KEY)
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, agree)
    # First is outermost: what other nodes add to the prediction must agree as well, whichever node came first.
    others = patched.wrappers[WrappersMP.PREDICT_NOISE]
    patched.wrappers[WrappersMP.PREDICT_NOISE] = {KEY: others.pop(KEY), **others}
    return patched
