"""Work inside a sampling run of the host, where guiders, wrappers, hooks and ControlNets are in force."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..guidance.terms import DRAWS_NOTHING
from .critic import Predict
from .differentiable_vae import DifferentiableVae

VAE = "domain_guidance.critic_vae"
MOST = 0.9  # of the free memory that is kept from the host; the rest is for a part of the critic's weights (our choice)
Result = TypeVar("Result")
# (guider, its prediction) -> whatever comes of it.
Work = Callable[[comfy.samplers.CFGGuider, Predict], Result]


def inside_sampler(
    model: ModelPatcher,
    vae: DifferentiableVae,
    positive: list,
    negative: list,
    *,
    cfg: float,
    shape: tuple[int, ...],
    sigmas: Tensor,
    seed: int,
    work: Work[Result],
    room: int = 0,
) -> Result:
    """One sampling run of `model` that draws nothing: `work` gets the prepared guider, with gradients possible.

    vae: loaded together with the model, so that neither pushes the other off the device. shape: [B, C, h, w] of the
    largest batch of latents. sigmas: the levels to be asked about, falling, with a 0 at the end. room: bytes that
    `work` takes of the device, which the host plans without. MODEL and conditionings stay as they are.
    """
    critic = model.clone()
    critic.set_additional_models(VAE, [vae.patcher])
    critic.set_attachments(DRAWS_NOTHING, True)
    guider = comfy.samplers.CFGGuider(critic)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    sampler = _Working(work, vae, _kept_free(room, critic.load_device))
    try:
        guider.sample(torch.zeros(shape), torch.zeros(shape), sampler, sigmas, disable_pbar=True, seed=seed)
        return sampler.result
    finally:
        # The host cleans up after a success alone.
        comfy.sampler_helpers.cleanup_models(guider.original_conds, critic.get_nested_additional_models())
        vae.patcher.detach()


class _Working(comfy.samplers.Sampler):
    def __init__(self, work: Work, vae: DifferentiableVae, reserve: Tensor | None):
        self._work, self._vae, self._reserve = work, vae, reserve
        self.result: Any = None

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        self._reserve = None
        with torch.inference_mode(False), torch.enable_grad():
            self._vae.settle()
            self.result = self._work(model_wrap, partial(model_wrap, **extra_args))
        return torch.zeros_like(noise)


def _kept_free(room: int, device: torch.device) -> Tensor | None:
    """Memory of the device that is taken while the host loads its models into the rest.

    On a small device it is less than `room`, which is an overestimate, so that the work may fit nevertheless.
    """
    if comfy.model_management.is_device_cpu(device) or not room:
        return None
    comfy.model_management.free_memory(room, device)
    free = comfy.model_management.get_free_memory(device)
    try:
        return torch.empty(min(room, int(MOST * free)), dtype=torch.uint8, device=device)
    except RuntimeError as error:  # what is free may lie in pieces
        comfy.model_management.raise_non_oom(error)
        return None
