"""Drawing in the library, on diffusers' UNet: prompts and noise become pictures, with or without a domain."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..diffusers_host.denoiser import DiffusersDenoiser
from ..diffusion import sampling
from ..diffusion.denoiser import Denoiser
from ..diffusion.noise_schedule import scaled_linear
from ..guidance import GuidedDenoiser, SigmaInterval
from ..side_networks import SideGuidedDenoiser, SideNetwork
from . import checkpoints
from .model import CHANNELS, LATENT_SIZE, PREDICTION
from .patch_code import PatchCode
from .prompts import encode_prompt

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

STEPS = 30
CHUNK = 64  # pictures that are drawn at once


@dataclass(frozen=True)
class Artist:
    """The networks that draw, in fp32 and for evaluation. table: for `prompts.encode_prompt`."""

    unet: UNet2DConditionModel
    table: Tensor
    code: PatchCode


@dataclass(frozen=True)
class Lead:
    """A domain that a picture is led into: a correction of what the base answers to the prompt.

    interval: the noise levels at which it counts.
    """

    network: SideNetwork
    weight: float
    interval: SigmaInterval = SigmaInterval()


@dataclass(frozen=True)
class Guidance:
    """How far a picture is led: by its prompt, and into a domain."""

    cfg: float
    lead: Lead | None = None


def load_artist(folder: str | os.PathLike = checkpoints.FOLDER) -> Artist:
    """The networks of a folder that `train` has filled."""
    return Artist(*checkpoints.load_base(folder), checkpoints.load_code(folder))


def draw(artist: Artist, asked: Tensor, guidance: Guidance, seed: int) -> Tensor:
    """Pictures [N, 3, 64, 64] in [-1, 1] of encoded prompts [N, 4, 64], from noise that the seed decides.

    By ancestral Euler steps: without their fresh noise, large weights leave stains.
    """
    base = DiffusersDenoiser(artist.unet, scaled_linear(), PREDICTION)
    guided = _guided(base, encode_prompt(artist.table), guidance)
    fresh = torch.Generator().manual_seed(seed + 1)  # as in the host on a CPU
    sampler = partial(sampling.sample_euler_ancestral, generator=fresh)
    return draw_by(guided, artist.code, asked, seed, STEPS, sampler)


@torch.no_grad()
def draw_by(
    denoiser: Denoiser[Tensor], code: PatchCode, asked: Tensor, seed: int, steps: int, sampler: sampling.Sampler
) -> Tensor:
    """As `draw`, by any denoiser that reads encoded prompts, and any sampler."""
    noise = torch.randn(len(asked), CHANNELS, LATENT_SIZE, LATENT_SIZE, generator=torch.Generator().manual_seed(seed))
    drawn = []
    for some, start in zip(asked.split(CHUNK), noise.split(CHUNK)):
        latents = sampling.draw(partial(_asked, denoiser, some), start, scaled_linear(), steps, sampler=sampler)
        drawn.append(code.decode(latents))
    return torch.cat(drawn).clamp(-1, 1)


def _asked(denoiser: Denoiser[Tensor], asked: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    return denoiser(x, sigma, asked)


def _guided(base: Denoiser[Tensor], empty: Tensor, guidance: Guidance) -> Denoiser[Tensor]:
    lead = guidance.lead
    if lead is None:
        return GuidedDenoiser(base, base, empty, empty, weight=0.0, cfg=guidance.cfg)
    return SideGuidedDenoiser(
        base,
        lead.network,
        PREDICTION,
        empty,
        lead.weight,
        guidance.cfg,
        interval=lead.interval,
        reads_prompt=True,
    )
