"""`python -m domain_guidance sample`: pictures from a trained file, image i from seed + i alone."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..data import Size
from ..data.images import DAMAGED
from ..diffusers_host.denoiser import PromptedUNet
from ..diffusers_host.folder import DiffusersFolder, PixelSpace, decoded, on_device
from ..diffusers_host.trainable import base_fingerprint
from ..diffusers_host.trained_file import load_trained
from ..diffusion import sampling
from ..diffusion.noise_schedule import NoiseSchedule
from ..domains.domain_file import DomainFileError, read_card
from ..domains.fingerprint import fingerprint
from ..files.atomic_file import replacing
from ..guidance import GuidedDenoiser
from ..pictures.pixels import as_picture
from ..runs.process import AUTOCAST
from ..side_networks import is_side_file
from .command import SEEDS, Command
from .interrupts import Check
from .processes import start_process
from .side_network import side_denoiser

if TYPE_CHECKING:
    from ..diffusers_host.folder import Autoencoder

logger = logging.getLogger(__name__)

SETTINGS_KEY = "domain_guidance"  # of a picture's metadata: the hash of what it was drawn with


def add_sample_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", required=True, help="folder of the base model, in the format of diffusers")
    parser.add_argument(
        "--domain", type=Path, required=True, help="domain file, adapter or side network written by train"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the pictures, which are named by their seed; those that the same command has drawn already "
        "are kept",
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
    _check_counts(options)
    process, device = start_process(options.precision)
    base = DiffusersFolder(options.base, options.allow_download)
    cell = base.latent_cell
    _check_size(options, cell)
    vae = on_device(base.vae(), device)
    if is_side_file(options.domain):
        denoiser = side_denoiser(base, vae, options, device)
    else:
        denoiser = _denoiser(base, options, device)
    prompt = base.prompt(options.prompt) if options.prompt else None
    schedule, _ = base.schedule()
    shape = (vae.config["latent_channels"], options.height // cell, options.width // cell)
    options.out.mkdir(parents=True, exist_ok=True)
    settings = _settings(options, cast("PromptedUNet", denoiser.base), vae)
    missing = _missing(options, settings)
    process.wait()  # until every process has looked, for the others' pictures must not be taken for older ones
    for seed in missing[process.rank :: process.world]:
        with torch.no_grad():
            with process.arithmetic():
                latent = draw(
                    partial(denoiser, conditioning=prompt),
                    schedule,
                    shape,
                    seed,
                    options.steps,
                    device,
                )
            picture = decoded(vae, latent)[0]
        path = _path(options, seed)
        _save(as_picture(picture), path, settings)
        logger.info("'%s' is drawn", path)
        check()
    process.wait()


def _check_counts(options: argparse.Namespace) -> None:
    for name in ("count", "steps"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} is {getattr(options, name)}, expected at least 1.")
    if options.seed < 0 or options.seed + options.count > SEEDS:
        raise ValueError(
            f"--seed is {options.seed} and --count {options.count}, but the seeds of pictures go from 0 to {SEEDS - 1}"
            ": choose others."
        )


def _check_size(options: argparse.Namespace, cell: int) -> None:
    for name in ("width", "height"):
        pixels = getattr(options, name)
        if pixels < cell or pixels % cell:
            raise ValueError(f"--{name} is {pixels} pixels: make it a multiple of {cell}, and at least {cell}.")


def _settings(options: argparse.Namespace, base: PromptedUNet, vae: Autoencoder | PixelSpace) -> str:
    """A hash of all that a picture depends on beside its seed."""
    names = ("prompt", "weight", "cfg", "steps", "width", "height", "precision")
    models = asdict(read_card(options.domain)), fingerprint(base.unet.state_dict()), fingerprint(vae.state_dict())
    said = json.dumps([models, {name: getattr(options, name) for name in names}], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _missing(options: argparse.Namespace, settings: str) -> list[int]:
    """The seeds that are still to be drawn. Raises ValueError for a picture that these settings have not drawn."""
    missing = []
    for seed in range(options.seed, options.seed + options.count):
        path = _path(options, seed)
        if not path.exists():
            missing.append(seed)
        elif _drawn_with(path) != settings:
            raise ValueError(
                f"'{path}' exists already and was not drawn with these settings: name another folder as --out, or "
                "another --seed."
            )
    if len(missing) < options.count:
        logger.info("%d of %d pictures are there already and are kept", options.count - len(missing), options.count)
    return missing


def _path(options: argparse.Namespace, seed: int) -> Path:
    return options.out / f"{seed:06d}.png"


def _drawn_with(path: Path) -> str | None:
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.info.get(SETTINGS_KEY)
    except DAMAGED:  # whatever it is, it is not ours
        return None


def _save(picture: Image.Image, path: Path, settings: str) -> None:
    note = PngInfo()
    note.add_text(SETTINGS_KEY, settings)
    with replacing(path, durable=False) as part:  # a torn one would be taken for drawn
        picture.save(part, format="PNG", pnginfo=note)


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
