"""One cell of the table: a method's pictures, and what is measured of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion import sampling
from ..diffusion.denoiser import Denoiser
from ..evaluation import grouped_diversity, nearest
from ..evaluation.scores import kernel_distance, share
from ..toy_world.comparison import held_out_as_asked, held_out_domain
from ..toy_world.features import FeatureNet, Reading
from ..toy_world.prompts import Prompts, encode
from .world import World

REFERENCE = 1000  # held-out plates that distances are measured to
NEAR = 0.05  # share of fresh real plates that count as near to a training picture


@dataclass(frozen=True)
class Cell:
    """What is measured of `count` pictures.

    digit, colour: shares read as asked. distance: kernel distance to held-out plates. diversity: mean distance of two
    pictures of one prompt, over that of real plates of one kind; None with one picture a prompt. memorised: share
    nearer to a training picture than all but 5 % of fresh real plates are, so 0.05 by chance; None where no such
    pictures were kept.
    """

    digit: float
    colour: float
    distance: float
    diversity: float | None
    memorised: float | None
    count: int


@torch.no_grad()
def draw(
    world: World,
    denoiser: Denoiser[Tensor],
    asked: Prompts,
    seed: int,
    start: Tensor | None = None,
    strength: float = 1.0,
) -> Tensor:
    """Draw pictures [N, 3, 16, 16], on the CPU, from noise that depends on the seed alone.

    DPM-Solver++(2M) on Karras levels. start: pictures to begin with, as image-to-image does, `strength` of the steps
    before the end.
    """
    device, count = world.table.device, len(asked)
    noise = torch.randn((count, 3, 16, 16), generator=torch.Generator().manual_seed(seed)).to(device)
    prompt = encode(asked, world.table.cpu()).to(device)
    begun = None if start is None else start.to(device)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return denoiser(x, sigma, prompt)

    return sampling.draw(denoise, noise, world.schedule, world.steps, begun, strength).cpu()


def measure(judge: FeatureNet, images: Tensor, asked: Prompts, trained_on: Tensor | None = None) -> Cell:
    """Judge pictures [N, 3, 16, 16]; trained_on: the domain's training pictures [M, 3, 16, 16]."""
    read = _on(judge, images)
    digit, colour = share(read.digit.cpu(), asked.digit), share(read.stroke.cpu(), asked.stroke)
    return Cell(
        digit,
        colour,
        distance_to_domain(judge, images),
        diversity(images, asked),
        memorised(images, trained_on),
        len(images),
    )


def distance_to_domain(judge: FeatureNet, images: Tensor) -> float:
    reference = held_out_domain(REFERENCE).images
    return kernel_distance(_on(judge, images).features, _on(judge, reference).features)


def diversity(images: Tensor, asked: Prompts) -> float | None:
    kinds = asked.digit * 100 + asked.stroke
    if len(kinds.unique()) == len(kinds):
        return None
    ours, real = (grouped_diversity(_flat(shown), kinds)[0] for shown in (images, held_out_as_asked(asked)))
    return ours / real


def memorised(images: Tensor, trained_on: Tensor | None) -> float | None:
    if trained_on is None:
        return None
    fresh = held_out_domain(REFERENCE).images
    limit = nearest(_flat(fresh), _flat(trained_on)).distance.quantile(NEAR)
    return (nearest(_flat(images), _flat(trained_on)).distance < limit).double().mean().item()


def _on(judge: FeatureNet, images: Tensor) -> Reading:
    return judge.read(images.to(judge.centre.device))


def _flat(images: Tensor) -> Tensor:
    return images.clamp(-1, 1).flatten(1)
