"""`python -m domain_guidance train`: a folder of images and a diffusers folder to a domain file or adapter."""

from __future__ import annotations

import argparse
import json
import logging
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from ..data import CachedLatents, Encoded, FolderImages, LatentCache, aspect_buckets, shorter_side
from ..data.buckets import BucketOf
from ..diffusers_host.folder import (
    DiffusersFolder,
    LatentScale,
    PixelSpace,
    decoded,
    encoder_of,
    latent_scale,
    on_device,
)
from ..diffusers_host.trainable import DiffusersTrainable, add_adapter, base_fingerprint, check_peft
from ..domains.fingerprint import fingerprint
from ..domains.prompt import Prompt
from ..domains.training_forms import ADAPTER, EMPTY_PROMPT, SIDE_NETWORK, TEXT_FREE
from ..domains.unet_layouts import diffusers_to_host
from ..memory.estimate import check_fits, device_memory, whole_network_estimate
from ..memory.recomputation import recomputation
from ..runs import RunFiles
from ..runs.optimizers import check_bitsandbytes
from ..runs.process import AUTOCAST, Process
from ..training import RunSettings, Trainable, train_domain
from ..training.preview import draw_preview
from ..training.text_removal import domain_latents, take_text_out
from .command import Command
from .interrupts import Check, stop_together
from .listener import SECONDS_BETWEEN_LINES, Listener, tensorboard
from .options import add_train_options, plain, resolve_train, run_settings
from .presets import PRESETS
from .processes import start_process
from .run_name import claimed_run
from .side_network import side_trainable

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from ..diffusers_host.folder import Autoencoder

logger = logging.getLogger(__name__)

CONSTANT_IMAGES = 32  # of the domain, for measuring the constants
PREVIEWS = 4


def train(options: argparse.Namespace, check: Check) -> None:
    """Train as the options say. check: called between steps, to raise what ends the run.

    Raises ValueError with one sentence for the user.
    """
    if options.dry_run:
        logger.info("%s", json.dumps(plain(options), indent=2))
        return
    _check_folders(options)
    _check_form(options)
    process, device = start_process(options.precision)
    settings = run_settings(options, process.world)
    with claimed_run(process, options.out, options.name, options.on_existing) as files:
        _train(options, settings, files, process, device, check)


def _check_folders(options: argparse.Namespace) -> None:
    """Refuse a run whose own previews and curve would be training images, which also ends its being resumed."""
    if options.out.resolve().is_relative_to(options.images.resolve()):
        raise ValueError(
            f"--out is '{options.out}', which is in --images, so the run would be trained on its own previews: name a "
            f"folder outside '{options.images}'."
        )


def _train(
    options: argparse.Namespace,
    settings: RunSettings,
    files: RunFiles,
    process: Process,
    device: torch.device,
    check: Check,
) -> None:
    base = DiffusersFolder(options.base, options.allow_download)
    _check_base(base, options, device)
    empty = base.prompt()  # also before hours of encoding: it may be what the base lacks
    vae = base.vae()
    latents = _fill_cache(
        _cache(base, vae, options, process, device), process, check, encoded_at_once(options.resolution)
    )
    with ExitStack() as stack:
        trainable = _make_trainable(base, empty, latent_scale(vae), latents, options, device, stack)
        listener = Listener(
            files, settings.steps, _Preview(trainable, vae, latents, process).draw, tensorboard(files, process, stack)
        )
        for event in stack.enter_context(closing(train_domain(trainable, latents, settings, files, process))):
            if process.rank == 0:
                listener.hear(event)
            stop_together(process, check)


def _check_base(base: DiffusersFolder, options: argparse.Namespace, device: torch.device) -> None:
    """Refuse what cannot be trained here, before hours of encoding."""
    network = base.unet_without_weights()
    base.check_channels()
    base.schedule()
    _check_names(network)
    if options.form not in (ADAPTER, SIDE_NETWORK):
        check_fits(whole_network_estimate(network, eight_bit_adam=options.eight_bit_adam), device_memory(device))


def _check_form(options: argparse.Namespace) -> None:
    """Refuse what the form needs and does not have, and what would be given to it in vain."""
    if options.form == ADAPTER:
        check_peft()
        if options.rank < 1:
            raise ValueError(f"--rank is {options.rank}, expected at least 1.")
    elif options.rank is not None:
        raise ValueError(f"A --rank was given, which the form {options.form} does not have: leave it out.")
    if options.form == SIDE_NETWORK and options.gradient_checkpointing:
        raise ValueError(
            "--gradient-checkpointing was given, but no gradient passes the base of a side network, so it would save "
            "nothing: leave it out."
        )
    if options.eight_bit_adam:
        check_bitsandbytes()


def _check_names(network: UNet2DConditionModel) -> None:
    """Refuse a UNet with layers that no file has names for."""
    try:
        diffusers_to_host(network.state_dict(), network.config)
    except ValueError as error:
        fault, _, _ = str(error).partition(":")
        raise ValueError(f"{fault}, so no file can hold it: give a base of the Stable Diffusion family.") from error


def _cache(
    base: DiffusersFolder,
    vae: Autoencoder | PixelSpace,
    options: argparse.Namespace,
    process: Process,
    device: torch.device,
) -> LatentCache:
    return LatentCache(
        options.cache or options.out / "latents",
        FolderImages(options.images),
        encoder_of(vae, device),
        vae=fingerprint(vae.state_dict()),
        bucket_of=_buckets(options, base.latent_cell),
        cell=base.latent_cell,
        rank=process.rank,
        world=process.world,
    )


def encoded_at_once(resolution: int) -> int:
    """Pictures that are encoded together: as many pixels as four of 512 by 512."""
    return max(1, 4 * 512**2 // resolution**2)


def _fill_cache(cache: LatentCache, process: Process, check: Check, at_once: int) -> CachedLatents:
    """Encode this process's share of the images; the latents of all, when every process has done so."""
    said = 0.0
    for event in cache.fill(at_once):
        if isinstance(event, Encoded):
            if event.done == event.total or time.monotonic() - said >= SECONDS_BETWEEN_LINES:
                logger.info("images encoded: %d of %d", event.done, event.total)
                said = time.monotonic()
        else:
            logger.warning("'%s' is left out, because %s", event.name, event.reason)
        check()
    process.wait()
    return cache.open()


def _buckets(options: argparse.Namespace, cell: int) -> BucketOf:
    if options.buckets == "aspect":
        return aspect_buckets(options.resolution, step=min(8 * cell, options.resolution))
    return shorter_side(options.resolution, cell=cell)


def _make_trainable(
    base: DiffusersFolder,
    empty: Prompt,
    scale: LatentScale,
    latents: CachedLatents,
    options: argparse.Namespace,
    device: torch.device,
    stack: ExitStack,
) -> Trainable:
    adapter, side = options.form == ADAPTER, options.form == SIDE_NETWORK
    # What is trained must be fp32; a frozen base may be as narrow as the arithmetic.
    unet = base.unet(AUTOCAST.get(options.precision, torch.float32) if adapter or side else torch.float32)
    schedule, prediction = base.schedule()
    trainable = DiffusersTrainable(
        module=unet,
        schedule=schedule,
        prediction=prediction,
        empty=empty,
        form=EMPTY_PROMPT if side else options.form,
        base_fingerprint=base_fingerprint(unet),
        base_name=Path(options.base).name,
        scaling=scale.scaling,
        shift=scale.shift,
        rank=options.rank if adapter else 0,
    )
    if adapter:
        add_adapter(unet, options.rank, options.seed)
    on_device(unet, device)
    if side:  # no gradient passes the UNet, so there is nothing to make again
        return side_trainable(trainable, latents, options.seed)
    if options.form == TEXT_FREE:
        some = domain_latents(trainable, latents, images=CONSTANT_IMAGES, at_once=4)
        stack.callback(take_text_out(trainable, some).close)
        logger.info("cross-attention replaced by constants; relative residuals %s", trainable.notes["residuals"])
    elif not adapter:
        unet.requires_grad_(True)
    if options.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    else:
        stack.enter_context(recomputation(unet))
    return trainable


@dataclass
class _Preview:
    """Draws what the model now makes by itself, at the size of the first image."""

    trainable: Trainable
    vae: Autoencoder | PixelSpace
    latents: CachedLatents
    process: Process

    def draw(self) -> Image.Image:
        shape = self.latents.read(0).mean.shape
        with self.process.arithmetic():  # an adapter's base is held in the run's precision
            return draw_preview(self.trainable, self._decode, self.latents.images[0].bucket, shape, PREVIEWS)

    def _decode(self, latent: Tensor) -> Tensor:
        with torch.autocast(latent.device.type, enabled=False):
            return decoded(self.vae, latent)


TRAIN = Command(
    name="train",
    summary="train a domain model on a folder of images",
    add_options=add_train_options,
    run=train,
    presets=PRESETS,
    resolve=resolve_train,
    less_memory="Lower --micro-batch or, except for a side network, add --gradient-checkpointing; the same command "
    "then resumes the run",
)
