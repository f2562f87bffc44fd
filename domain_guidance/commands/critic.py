"""The critic that the adapt command's options describe."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..data import Size
from ..diffusers_host.critic import DiffusersCritic, DomainTerm, PosteriorMode
from ..diffusers_host.denoiser import PromptedUNet
from ..diffusers_host.folder import DiffusersFolder, PixelSpace, latent_scale, on_device
from ..diffusers_host.lora import add_lora
from ..diffusers_host.trainable import base_fingerprint
from ..diffusers_host.trained_file import load_trained
from ..domains.domain_file import DomainFileError
from ..domains.fingerprint import fingerprint
from ..domains.training_forms import is_adapter
from ..memory.frozen_gradient import frozen_gradient
from ..runs.process import AUTOCAST

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from ..diffusers_host.folder import Autoencoder

logger = logging.getLogger(__name__)

Host = Callable[["UNet2DConditionModel"], PromptedUNet]

DOMAIN_WEIGHT = (
    4.0  # the best of a sweep on the toy world, beside a reconstruction weight of 1; from 7.5 on pictures burn
)


def make_critic(options: argparse.Namespace, device: torch.device, stack: ExitStack) -> DiffusersCritic:
    """The base of the options with its LoRA, prompts and domain. stack: within it encoding takes less memory.

    Raises ValueError with one sentence for the user.
    """
    _check_asked(options)
    base = DiffusersFolder(options.base, options.allow_download)
    if options.resolution % base.latent_cell:
        raise ValueError(f"The --resolution is {options.resolution} pixels: make it a multiple of {base.latent_cell}.")
    unet, (schedule, prediction) = base.unet(), base.schedule()
    lora = add_lora(unet, options.lora, options.lora_strength) if options.lora else None
    host = partial(
        PromptedUNet, schedule=schedule, prediction=prediction, size=Size(options.resolution, options.resolution)
    )
    domain, domain_facts = _domain(unet, prediction, host, options, device) if options.domain else (None, {})
    vae = base.vae()
    scale = latent_scale(vae)
    encoder, vae_facts = _encoder(vae, options.precision, stack)
    return DiffusersCritic(
        unet=host(_frozen(unet, options, device)),
        encoder=encoder.to(device),
        empty=base.prompt(),
        prompt=base.prompt(options.prompt) if options.prompt else None,
        negative=base.prompt(options.negative) if options.negative else None,
        cfg=options.cfg,
        domain=domain,
        scaling=scale.scaling,
        shift=scale.shift,
        identity={**_facts(unet, options, lora), **domain_facts, **vae_facts},
    )


def _check_asked(options: argparse.Namespace) -> None:
    if not options.prompt and not options.domain:
        raise ValueError("The critic has neither a prompt nor a domain to judge by: give --prompt, --domain or both.")
    if not options.prompt and options.domain_weight == 0:
        raise ValueError(
            "--domain-weight is 0 and there is no prompt, so the critic has nothing to judge by: give --prompt, or "
            "another weight."
        )
    if options.negative and not options.prompt:
        raise ValueError(
            "A negative prompt was given without a prompt: give --prompt as well, or leave --negative out."
        )
    if options.domain_weight is not None and not options.domain:
        raise ValueError(
            "A domain weight was given without a domain: give --domain as well, or leave --domain-weight out."
        )


def _facts(unet: UNet2DConditionModel, options: argparse.Namespace, lora: str | None) -> dict[str, Any]:
    text = {"prompt": options.prompt, "negative prompt": options.negative, "cfg": options.cfg} if options.prompt else {}
    of_lora = {"LoRA": lora, "LoRA strength": options.lora_strength} if lora else {}
    return {"base": base_fingerprint(unet), **of_lora, **text}


def _domain(
    unet: UNet2DConditionModel, prediction: str, host: Host, options: argparse.Namespace, device: torch.device
) -> tuple[DomainTerm | None, dict[str, Any]]:
    """The domain's network as a term, and what a resumed run must share of it; nothing at weight 0."""
    network = deepcopy(unet)
    card, empty = load_trained(options.domain, network)
    if card.prediction != prediction:
        raise DomainFileError(
            f"'{options.domain.name}' predicts {card.prediction} and the base {prediction}: give the base it was "
            "trained from."
        )
    # An adapter lies on the critic's own weights, LoRA included, so that the term is the adapter's alone.
    if card.base_fingerprint != base_fingerprint(unet) and not (is_adapter(card) and options.lora):
        logger.warning(
            "'%s' was trained from another base (%s): the guidance pushes away from this one.",
            options.domain.name,
            card.base_name,
        )
    weight = DOMAIN_WEIGHT if options.domain_weight is None else options.domain_weight
    term = DomainTerm(host(_frozen(network, options, device)), empty, weight) if weight else None
    return term, {"domain": card.fingerprint, "domain weight": weight}


def _encoder(vae: Autoencoder | PixelSpace, precision: str, stack: ExitStack) -> tuple[nn.Module, dict[str, Any]]:
    """In the run's precision, but in fp32 where fp16 would overflow, which is what a VAE's force_upcast says."""
    if isinstance(vae, PixelSpace):
        return nn.Identity(), {}
    wide = precision == "fp16" and vae.config["force_upcast"]
    dtype = torch.float32 if wide else AUTOCAST.get(precision, torch.float32)
    facts, encoder = {"VAE": fingerprint(vae.state_dict())}, PosteriorMode(vae, dtype)
    stack.enter_context(frozen_gradient(encoder))
    return encoder, facts


def _frozen(unet: UNet2DConditionModel, options: argparse.Namespace, device: torch.device) -> UNet2DConditionModel:
    return on_device(unet, device, AUTOCAST.get(options.precision, torch.float32)).requires_grad_(False)
