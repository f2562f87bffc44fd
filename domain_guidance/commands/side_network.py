"""Side networks on the command line: what `train --form side-network` trains, and what `sample` draws with one."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..data import CachedLatents, Size
from ..diffusers_host.denoiser import PromptedUNet
from ..diffusers_host.folder import DiffusersFolder, PixelSpace, latent_scale, on_device
from ..diffusers_host.trainable import DiffusersTrainable, base_fingerprint
from ..domains.card import DomainCard, DomainFileError
from ..domains.training_forms import SIDE_NETWORK, card_form
from ..side_networks import (
    LatentSpace,
    SideGuidedDenoiser,
    SideNetwork,
    SideTrainable,
    make_network,
    read_side_file,
    shape_for,
    shape_identity,
    write_side_file,
)

if TYPE_CHECKING:
    from ..diffusers_host.folder import Autoencoder

logger = logging.getLogger(__name__)


def side_trainable(base: DiffusersTrainable, latents: CachedLatents, seed: int) -> SideTrainable:
    """A fresh side network beside the frozen UNet of `base`, on its device, as large as the latents ask for."""
    size = latents.commonest_bucket  # of any one image the size would change with the names
    channels, height, width = latents.read([image.bucket for image in latents.images].index(size)).mean.shape
    network = make_network(shape_for(channels, height, width), seed).to(next(base.module.parameters()).device)
    identity = {**base.identity, **shape_identity(network.shape), "form": SIDE_NETWORK, "rank": 0}
    return SideTrainable(base, network, identity, partial(_save, base, LatentSpace(channels, base.scaling, base.shift)))


def _save(
    base: DiffusersTrainable,
    latents: LatentSpace,
    path: str | os.PathLike,
    network: SideNetwork,
    record: Mapping[str, Any],
) -> None:
    card = DomainCard(
        form=card_form(SIDE_NETWORK),
        prediction=base.prediction,
        base_fingerprint=base.base_fingerprint,
        base_name=base.base_name,
        training={**record, "form": SIDE_NETWORK},
    )
    write_side_file(path, network, card=card, latents=latents, empty=base.empty)


def side_denoiser(
    base: DiffusersFolder, vae: Autoencoder | PixelSpace, options: argparse.Namespace, device: torch.device
) -> SideGuidedDenoiser:
    """The base guided by the side network `options.domain`. Raises DomainFileError where the two do not fit."""
    unet, (schedule, prediction), file = base.unet(), base.schedule(), read_side_file(options.domain)
    scale = latent_scale(vae)
    space = LatentSpace(vae.config["latent_channels"], scale.scaling, scale.shift)
    if not file.latents.fits(space):
        raise DomainFileError(
            f"'{options.domain.name}' reads {file.latents} latents and the base works on {space} ones: give a base of "
            "the family that it was trained on."
        )
    if (file.card.prediction == "flow") != (prediction == "flow"):
        raise DomainFileError(
            f"'{options.domain.name}' predicts {file.card.prediction} and the base {prediction}: give the base it was "
            "trained from."
        )
    if file.card.base_fingerprint != base_fingerprint(unet):
        logger.warning(
            "'%s' was trained on a different base (%s): compare the pictures with and without it.",
            options.domain.name,
            file.card.base_name,
        )
    size = Size(options.width, options.height)
    return SideGuidedDenoiser(
        base=PromptedUNet(on_device(unet, device), schedule, prediction, size),
        network=file.network.to(device),
        kind=prediction,
        empty=base.prompt(),
        weight=file.card.recommended_weight if options.weight is None else options.weight,
        cfg=file.card.recommended_cfg if options.cfg is None else options.cfg,
    )
