"""`python -m domain_guidance sample`: pictures from a trained file, image i from seed + i alone."""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..data import Size
from ..diffusers_host.denoiser import PromptedUNet
from ..diffusers_host.folder import DiffusersFolder, decoded, on_device
from ..diffusers_host.trainable import base_fingerprint
from ..diffusers_host.trained_file import load_trained
from ..diffusion import sampling
from ..diffusion.noise_schedule import NoiseSchedule
from ..domains.domain_file import DomainFileError
from ..guidance import GuidedDenoiser
from ..pictures.pixels import as_picture
from ..runs.process import AUTOCAST
from ..side_networks import is_side_file
from .command import Command
from .interrupts import Check
from .processes import start_process
from .side_network import side_denoiser

logger = logging.getLogger(__name__)


def add_sample_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", required=True, help="folder of the base model, in the format of diffusers")
    parser.add_argument(
        "--domain", type=Path, required=True, help="domain file, adapter or side network written by train"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the pictures, which are named by their seed"
    )
    parser.add_argument("--count", type=int, default=4, help="number of pictures (default: %(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the first picture; the next ones count up from it (default: %(default)s)",
    )
    parser.add_argument("--prompt", default="", help="prompt (default: none, which gives any picture of the domain)")
    parser.add_argument(
        "--weight", type=float, help="weight of the domain guidance, w_d (default: as the file recommends)"
    )
    parser.add_argument("--cfg", type=float, help="weight of the text guidance, w_c (default: as the file recommends)")
    parser.add_argument(
        "--steps", type=int, default=25, help="sampling steps of DPM-Solver++ (2M) (default: %(default)s)"
    )
    parser.add_argument("--width", type=int, default=512, help="in pixels (default: %(default)s)")
    parser.add_argument("--height", type=int, default=512, help="in pixels (default: %(default)s)")
    parser.add_argument(
        "--precision", choices=("fp32", *AUTOCAST), default="fp32", help="precision of the UNets (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-download",
        action="store_true",
        help="let --base name a repository on the Hugging Face Hub, which is then downloaded",
    )


def sample(options: argparse.Namespace, check: Check) -> None:
    """Draw as the options say. check: called between pictures, to raise what ends the work.

    Raises ValueError with one sentence for the user.
    """
    process, device = start_process(options.precision)
    base = DiffusersFolder(options.base, options.allow_download)
    vae, cell = on_device(base.vae(), device), base.latent_cell
    if is_side_file(options.domain):
        denoiser = side_denoiser(base, vae, options, device)
    else:
        denoiser = _denoiser(base, options, device)
    prompt = base.prompt(options.prompt) if options.prompt else None
    schedule, _ = base.schedule()
    shape = (vae.config["latent_channels"], options.height // cell, options.width // cell)
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(process.rank, options.count, process.world):
        with torch.no_grad():
            with process.arithmetic():
                latent = draw(
                    partial(denoiser, conditioning=prompt),
                    schedule,
                    shape,
                    options.seed + number,
                    options.steps,
                    device,
                )
            picture = decoded(vae, latent)[0]
        path = options.out / f"{options.seed + number:06d}.png"
        as_picture(picture).save(path)
        logger.info("'%s' is drawn", path)
        check()
    process.wait()


def draw(
    denoise, schedule: NoiseSchedule, shape: tuple[int, ...], seed: int, steps: int, device: torch.device
) -> Tensor:
    """One latent [1, C, h, w] in the model's scale.

    One at a time, so that neighbours in a batch cannot change a digit of it.
    """
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)).to(device)
    return sampling.draw(denoise, noise, schedule, steps)


def _denoiser(base: DiffusersFolder, options: argparse.Namespace, device: torch.device) -> GuidedDenoiser:
    unet, (schedule, prediction) = base.unet(), base.schedule()
    domain = base.unet()
    card, empty = load_trained(options.domain, domain)
    if card.prediction != prediction:
        raise DomainFileError(
            f"'{options.domain.name}' predicts {card.prediction} and the base {prediction}: give the base it was "
            "trained from."
        )
    if card.base_fingerprint != base_fingerprint(unet):
        logger.warning(
            "'%s' was trained from another base (%s): the guidance pushes away from this one.",
            options.domain.name,
            card.base_name,
        )
    size = Size(options.width, options.height)
    host = partial(PromptedUNet, schedule=schedule, prediction=prediction, size=size)
    return GuidedDenoiser(
        base=host(on_device(unet, device)),
        domain=host(on_device(domain, device)),
        empty=base.prompt(),
        domain_conditioning=empty,
        weight=card.recommended_weight if options.weight is None else options.weight,
        cfg=card.recommended_cfg if options.cfg is None else options.cfg,
    )


SAMPLE = Command(
    name="sample",
    summary="draw pictures with a trained domain model",
    add_options=add_sample_options,
    run=sample,
)
