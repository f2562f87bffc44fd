"""Two domains at once: plates in the left half, notes in the right, by masks on two parallel terms of one guidance."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..diffusion.denoiser import Denoiser
from ..evaluation import nearest
from ..guidance import Term, compose
from ..toy_world.comparison import held_out_domain
from ..toy_world.digits import Digits, load_digits, place
from ..toy_world.scenes import DOMAIN_STROKES, PLATE, STROKES, Scenes
from .cells import REFERENCE
from .world import World

PAPER, LINES = (0.97, 0.92, 0.62), (0.45, 0.62, 0.86)
APART = 3  # pixels between two lines
NOTES_SEED = 4712
HALVES = {"left": slice(0, 8), "right": slice(8, 16)}


def paint_notes(digits: Digits, count: int, generator: torch.Generator) -> Scenes:
    """The second domain: yellow paper with blue lines across, ink over the lines.

    Pictures [N, 3, 16, 16] in [-1, 1].
    """

    def within(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    chosen = digits.take(torch.randint(len(digits), (count,), generator=generator))
    allowed = torch.tensor([list(STROKES).index(name) for name in DOMAIN_STROKES])
    stroke = allowed[torch.randint(len(allowed), (count,), generator=generator)]
    ink = (torch.tensor(list(STROKES.values()))[stroke] + within(-0.04, 0.04, 3))[..., None, None]
    paper = (torch.tensor(PAPER) + within(-0.02, 0.02, 3))[..., None, None]
    first = torch.randint(APART, (count, 1), generator=generator)
    lined = ((torch.arange(16) + first) % APART == 0).float()[:, None, :, None]
    ground = paper + 0.8 * lined * (torch.tensor(LINES).view(1, 3, 1, 1) - paper)
    opacity = place(chosen.ink, within(9.6, 11.0), within(-0.8, 0.8, 2))
    images = (ground + opacity * (ink - ground)).clamp(0, 1) * 2 - 1
    return Scenes(images, chosen.labels, stroke, torch.full_like(stroke, PLATE))


def composed(world: World, cfg: float, weight: float, masks: Mapping[str, Tensor | None]) -> Denoiser[Tensor]:
    """The base's guidance with one term for each domain of `masks`: [16, 16] in [0, 1], None for everywhere."""

    def denoise(x: Tensor, sigma: Tensor, prompt: Tensor) -> Tensor:
        start = world.models["base"](x, sigma, world.empty)
        terms = [Term(world.models["base"](x, sigma, prompt), start, cfg)]
        for name, mask in masks.items():
            terms.append(
                Term(world.models[name](x, sigma, world.empty), start, weight, None if mask is None else mask.to(x))
            )
        return compose(start, terms)

    return denoise


def half_masks() -> dict[str, Tensor]:
    """1 in the named half, with two columns of slope between the halves."""
    right = ((torch.arange(16) - 6.5) / 2).clamp(0, 1).expand(16, 16)
    return {"left": 1 - right, "right": right}


def plates_in_halves(images: Tensor) -> dict[str, float]:
    """Of each half the share of pictures [N, 3, 16, 16] whose nearest real picture there, in pixels, is a plate.

    Real pictures are 1,000 held-out plates and as many notes of held-out handwriting.
    """
    plates = held_out_domain(REFERENCE).images
    notes = paint_notes(load_digits("held_out"), REFERENCE, torch.Generator().manual_seed(NOTES_SEED)).images
    real = torch.cat([plates, notes])
    found = {}
    for name, part in HALVES.items():
        index = nearest(images.clamp(-1, 1)[..., part].flatten(1), real[..., part].flatten(1)).index
        found[name] = (index < REFERENCE).double().mean().item()
    return found
