"""Drawing what was asked in the domain with the shipped models, from one noise and for one judge."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusers_host.denoiser import DiffusersDenoiser
from ..diffusion import sampling
from ..diffusion.denoiser import Denoiser
from ..diffusion.noise_schedule import NoiseSchedule, scaled_linear
from ..diffusion.parameterization import Prediction
from ..evaluation.scores import kernel_distance, share
from ..side_networks import SideNetwork
from . import checkpoints
from .digits import load_digits
from .features import FeatureNet
from .methods import Weights
from .model import CHANNELS, IMAGE_SIZE
from .prompts import Prompts, encode, encode_prompt
from .scenes import DOMAIN_STROKES, STROKES, Scenes, paint_domain

STEPS = 20
HELD_OUT_SEED = 4711


@dataclass(frozen=True)
class ToyModels:
    """The three denoisers, the side network, the prompt table [26, 32] and the judge."""

    base: Denoiser[Tensor]
    fine_tune: Denoiser[Tensor]
    domain: Denoiser[Tensor]
    side: SideNetwork
    table: Tensor
    judge: FeatureNet
    schedule: NoiseSchedule

    @property
    def prediction(self) -> Prediction:
        return "epsilon"

    @property
    def models(self) -> Mapping[str, Denoiser[Tensor]]:
        """The denoisers under the names that `methods` uses."""
        return {"base": self.base, "empty-prompt": self.fine_tune, "text-free": self.domain}

    @property
    def empty(self) -> Tensor:
        """The empty prompt, [1, T, 32]."""
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
    fine_tune, domain = (checkpoints.load_domain(name, folder) for name in (checkpoints.FINE_TUNE, checkpoints.DOMAIN))
    return ToyModels(
        DiffusersDenoiser(base, schedule),
        DiffusersDenoiser(fine_tune, schedule),
        DiffusersDenoiser(domain, schedule),
        checkpoints.load_side_network(folder).network,
        table,
        checkpoints.load_judge(folder),
        schedule,
    )


# Each method's best of `python -m domain_guidance.toy_world sweep`, which uses other seeds than the demo. The side
# network has the weights of the whole domain that it stands for.
BEST: Mapping[str, Weights] = {
    "base": {"cfg": 4.0},
    "fine-tune": {"cfg": 2.0},
    "DoG": {"cfg": 3.0},
    "decoupled": {"cfg": 4.0, "weight": 1.5},
    "side network": {"cfg": 4.0, "weight": 1.5},
}


def every_prompt(repeats: int) -> Prompts:
    """Each digit in each colour that the domain knows, ground left open: 50 prompts, `repeats` times over."""
    digit = torch.arange(10).repeat_interleave(len(DOMAIN_STROKES)).repeat(repeats)
    known = torch.tensor([list(STROKES).index(name) for name in DOMAIN_STROKES])
    return Prompts(digit, known.repeat(10 * repeats), torch.full_like(digit, -1))


@torch.no_grad()
def sample(models: ToyModels, denoiser: Denoiser[Tensor], prompts: Prompts, seed: int) -> Tensor:
    """Draw one picture [N, 3, 16, 16] per prompt in 20 steps; a seed means the same noise for every method."""
    shape = (len(prompts), CHANNELS, IMAGE_SIZE, IMAGE_SIZE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    asked = encode(prompts, models.table)
    return sampling.draw(lambda x, sigma: denoiser(x, sigma, asked), noise, models.schedule, STEPS)


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
