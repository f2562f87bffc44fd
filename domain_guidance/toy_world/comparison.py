"""Four ways to draw what was asked in the domain, with the same prompts, the same noise and the same judge."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusers_host.denoiser import DiffusersDenoiser
from ..diffusion.denoiser import Denoiser, GuidedDenoiser
from ..diffusion.noise_schedule import NoiseSchedule, scaled_linear
from ..diffusion.sampling import karras_sigmas, sample_dpmpp_2m
from ..guidance import Term, compose
from . import checkpoints
from .digits import load_digits
from .features import FeatureNet
from .model import CHANNELS, IMAGE_SIZE
from .prompts import Prompts, encode, encode_prompt
from .scenes import DOMAIN_STROKES, STROKES, Scenes, paint_domain
from .scores import kernel_distance, share

STEPS = 20
HELD_OUT_SEED = 4711


@dataclass(frozen=True)
class ToyModels:
    """The three denoisers, the prompt table [26, 32] and the judge."""

    base: Denoiser
    fine_tune: Denoiser
    domain: Denoiser
    table: Tensor
    judge: FeatureNet
    schedule: NoiseSchedule

    @property
    def empty(self) -> Tensor:
        return encode_prompt(self.table)


@dataclass(frozen=True)
class Score:
    """What the judge says of N pictures: shares in [0, 1] read as asked, and the distance to the held-out domain."""

    digit: float
    stroke: float
    distance: float
    count: int


def load_models(folder: str | os.PathLike = checkpoints.FOLDER) -> ToyModels:
    schedule = scaled_linear()
    base, table = checkpoints.load_base(folder)
    unets = (
        base,
        checkpoints.load_domain(checkpoints.FINE_TUNE, folder),
        checkpoints.load_domain(checkpoints.DOMAIN, folder),
    )
    denoisers = (DiffusersDenoiser(unet, schedule) for unet in unets)
    return ToyModels(*denoisers, table, checkpoints.load_judge(folder), schedule)


def base_cfg(models: ToyModels, cfg: float) -> Denoiser:
    """The base alone, with classifier-free guidance: what the prompt looks like outside the domain."""
    return lambda x, sigma, prompt: _guided(models, models.base, models.base, cfg, x, sigma, prompt)


def fine_tune_cfg(models: ToyModels, cfg: float) -> Denoiser:
    """The fine-tuned base with its own classifier-free guidance: what most people do."""
    return lambda x, sigma, prompt: _guided(models, models.fine_tune, models.fine_tune, cfg, x, sigma, prompt)


def domain_of_guidance(models: ToyModels, cfg: float) -> Denoiser:
    """DoG (ICLR 2025): e_0(empty) + w [e_ft(c) - e_0(empty)]."""
    return lambda x, sigma, prompt: _guided(models, models.base, models.fine_tune, cfg, x, sigma, prompt)


def decoupled(models: ToyModels, cfg: float, weight: float) -> Denoiser:
    """This library (arXiv 2312.08195): the base's own guidance plus the text-free domain's difference."""
    return GuidedDenoiser(models.base, models.domain, models.empty, models.empty, weight, cfg)


METHODS: Mapping[str, Callable[..., Denoiser]] = {
    "base": base_cfg,
    "fine-tune": fine_tune_cfg,
    "DoG": domain_of_guidance,
    "decoupled": decoupled,
}
# Each method's best of `python -m domain_guidance.toy_world sweep`, which uses other seeds than the demo.
BEST: Mapping[str, Mapping[str, float]] = {
    "base": {"cfg": 4.0},
    "fine-tune": {"cfg": 2.0},
    "DoG": {"cfg": 3.0},
    "decoupled": {"cfg": 4.0, "weight": 1.5},
}


def every_prompt(repeats: int) -> Prompts:
    """Each digit in each colour that the domain knows, ground left open: 50 prompts, `repeats` times over."""
    digit = torch.arange(10).repeat_interleave(len(DOMAIN_STROKES)).repeat(repeats)
    known = torch.tensor([list(STROKES).index(name) for name in DOMAIN_STROKES])
    return Prompts(digit, known.repeat(10 * repeats), torch.full_like(digit, -1))


@torch.no_grad()
def sample(models: ToyModels, denoiser: Denoiser, prompts: Prompts, seed: int) -> Tensor:
    """One picture [N, 3, 16, 16] per prompt, DPM-Solver++(2M), 20 Karras steps; a seed means the same noise for all."""
    sigmas = karras_sigmas(STEPS, models.schedule.sigmas[0].item(), models.schedule.sigmas[-1].item())
    shape = (len(prompts), CHANNELS, IMAGE_SIZE, IMAGE_SIZE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * sigmas[0]
    asked = encode(prompts, models.table)
    return sample_dpmpp_2m(lambda x, sigma: denoiser(x, sigma, asked), noise, sigmas)


def held_out_domain(count: int) -> Scenes:
    """Real plates with handwriting that no network has seen."""
    return paint_domain(load_digits("held_out"), count, torch.Generator().manual_seed(HELD_OUT_SEED))


def held_out_as_asked(asked: Prompts, seed: int = HELD_OUT_SEED + 1) -> Tensor:
    """Real plates [N, 3, 16, 16] that happen to show what each prompt asks for, no picture twice."""
    pool = paint_domain(load_digits("held_out"), 1000 + 5 * len(asked), torch.Generator().manual_seed(seed))
    kinds = (pool.digit * len(STROKES) + pool.stroke).tolist()
    waiting = {kind: iter([i for i, found in enumerate(kinds) if found == kind]) for kind in set(kinds)}
    wanted = (asked.digit * len(STROKES) + asked.stroke).tolist()
    return pool.images[[next(waiting[kind]) for kind in wanted]]


def score(models: ToyModels, images: Tensor, asked: Prompts, reference: Tensor) -> Score:
    """Judge pictures [N, 3, 16, 16] against what was asked and against pictures of the domain [M, 3, 16, 16]."""
    reading = models.judge.read(images)
    distance = kernel_distance(reading.features, models.judge.read(reference).features)
    return Score(share(reading.digit, asked.digit), share(reading.stroke, asked.stroke), distance, len(images))


def _guided(
    models: ToyModels, reference: Denoiser, conditional: Denoiser, cfg: float, x: Tensor, sigma: Tensor, prompt: Tensor
) -> Tensor:
    start = reference(x, sigma, models.empty)
    return compose(start, [Term(conditional(x, sigma, prompt), start, cfg)])
