"""Image-to-image: scenes of the open world brought into the domain, at several strengths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..toy_world.digits import load_digits
from ..toy_world.prompts import Prompts
from ..toy_world.scenes import DOMAIN_STROKES, STROKES, paint_open_world
from .control import inked

SOURCE_SEED = 88


@dataclass(frozen=True)
class Sources:
    """Pictures [N, 3, 16, 16] to edit, where their ink is [N, 1, 16, 16], and prompts that say what they show."""

    images: Tensor
    masks: Tensor
    asked: Prompts


def sources(count: int) -> Sources:
    """Open-world scenes of held-out handwriting, in strokes that the domain knows.

    The prompt leaves the ground open.
    """
    pool = inked(paint_open_world, load_digits("held_out"), 4 * count, torch.Generator().manual_seed(SOURCE_SEED))
    known = torch.tensor([list(STROKES).index(name) for name in DOMAIN_STROKES])
    chosen = torch.isin(pool.scenes.stroke, known).nonzero().flatten()[:count]
    digit, stroke = pool.scenes.digit[chosen], pool.scenes.stroke[chosen]
    return Sources(pool.scenes.images[chosen], pool.masks[chosen], Prompts(digit, stroke, torch.full_like(digit, -1)))
