"""Any MODEL of a graph as the library's critic: every node that acts on a sampler acts here, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.diffusion.noise_schedule import NoiseSchedule
from ....domain_guidance.diffusion.parameterization import Prediction
from ..domains.prediction import known_prediction, prediction_of
from ..domains.side_network import BEFORE, check_no_side
from ..guidance.masks import masks_in
from ..guidance.terms import terms_of
from .differentiable_vae import DifferentiableVae
from .level_dependence import depends_on_level

STEP_CACHE = "easycache"  # the host's name of both of its caches
# (noisy latent, noise levels [B]) -> guided denoised prediction; the host's guider, with its options bound.
Predict = Callable[[Tensor, Tensor], Tensor]


class HostCritic:
    """A `CriticModel` that lives as long as one sampling run of the host.

    The host has loaded, prepared and wrapped everything by then.
    """

    def __init__(
        self, guider: comfy.samplers.CFGGuider, predict: Predict, vae: DifferentiableVae, identity: Mapping[str, Any]
    ):
        sampling = guider.model_patcher.get_model_object("model_sampling")
        self.prediction: Prediction = prediction_of(sampling)
        self.schedule = NoiseSchedule(sampling.sigmas.detach().float().cpu().clone())
        self.device: torch.device = guider.model_patcher.load_device
        self.identity = identity
        self._predict, self._vae, self._model = predict, vae, guider.inner_model
        self._one_level = depends_on_level(guider)
        self._masks = max(
            (masks_in(term.mask) for term in terms_of(guider.model_patcher) if term.mask is not None), default=1
        )

    def denoise(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """The guider's prediction, as a sampler would get it.

        noisy: latents [B, C, h, w]. sigma: their levels [B]. Returns [B, C, h, w].
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        noisy, sigma = noisy.detach().to(self.device, torch.float32), sigma.detach().to(self.device, torch.float32)
        # As in every sampler of the host: other nodes' patches count on it, and the weights are inference tensors.
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            denoised = self._predicted(noisy, sigma)
        return denoised.clone()

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, R, R] in [-1, 1] to latents [B, C, h, w] in the critic's scale, with a graph to the pixels."""
        latent = self._vae.encode(pixels.to(torch.float32))
        return self._model.process_latent_in(latent.to(self.device))

    def _predicted(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """In one call wherever the levels may be mixed."""
        if not self._one_level:
            return self._answer(noisy, sigma)
        denoised = torch.empty_like(noisy)
        for level in sigma.unique():
            rows = sigma == level
            denoised[rows] = self._answer(noisy, level.expand(len(noisy)), rows)
        return denoised

    def _answer(self, noisy: Tensor, sigma: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """The prediction of some rows. A mask of a row's own is on it only in its place of a whole batch."""
        if self._masks == 1:
            return self._predict(noisy[rows], sigma[rows])
        whole = (comfy.utils.repeat_to_batch_size(part, self._masks) for part in (noisy, sigma))
        return self._predict(*whole)[: len(noisy)][rows]


def check_critic(model: ModelPatcher) -> None:
    """Everything that can be said before any work. Raises ValueError, one sentence."""
    latents = model.model.latent_format
    if latents.latent_dimensions != 2:
        raise ValueError(
            f"The model works on {latents.latent_dimensions}-dimensional latents, but a generator's images can only be "
            "judged by an image model: connect one."
        )
    if STEP_CACHE in model.model_options["transformer_options"]:
        raise ValueError(
            "The model has EasyCache or LazyCache on it, which answer from the step before, but a critic is asked "
            "about pictures and noise levels in random order: connect the model from before that node."
        )
    if not terms_of(model):
        check_no_side(model, f"put Apply Domain Guidance between the two, or {BEFORE}")
    known_prediction(model)


def check_prompts(*prompts: list) -> None:
    """Raises ValueError for hooks with keyframes, which the host only ever moves on to the next one."""
    groups = [entry[1]["hooks"] for prompt in prompts for entry in prompt if entry[1].get("hooks")]
    if any(len(hook.hook_keyframe.keyframes) > 1 for group in groups for hook in group.hooks):
        raise ValueError(
            "A hook on the prompts changes its strength by keyframes, but a critic is asked about noise levels in "
            "random order: connect the hook without keyframes, or a separate prompt for each range of steps."
        )
