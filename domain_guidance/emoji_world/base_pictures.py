"""The pictures that the base learns from, as latents: every thing in every hand on every ground, several times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .prompts import Prompts
from .scenes import lay
from .things import GROUNDS, HANDS, THINGS

SEED = 6464
CHUNK = 64


@dataclass(frozen=True)
class BasePictures:
    """Latents [N, 32, 8, 8] with the indices [N] of what they show."""

    latents: Tensor
    thing: Tensor
    hand: Tensor
    ground: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def prompts(self, chosen: Tensor) -> Prompts:
        """What the chosen pictures, given as indices [M], show."""
        return Prompts(self.thing[chosen], self.hand[chosen], self.ground[chosen])


@torch.no_grad()
def paint_base(drawn: Mapping[str, Tensor], variants: int, encode: Callable[[Tensor], Tensor]) -> BasePictures:
    """Paint every thing in every hand on every ground, each `variants` times on other paper, and encode it."""
    generator = torch.Generator().manual_seed(SEED)
    ranges = (range(variants), range(len(THINGS)), range(len(HANDS)), range(len(GROUNDS)))
    _, thing, hand, ground = torch.cartesian_prod(*(torch.tensor(list(each)) for each in ranges)).unbind(1)
    pool = torch.stack([drawn[name] for name in HANDS])
    latents = []
    for part in torch.arange(len(thing)).split(CHUNK):
        latents.append(encode(lay(pool[hand[part], thing[part]], ground[part], generator, moved=False)))
    return BasePictures(torch.cat(latents).contiguous(), thing.clone(), hand.clone(), ground.clone())
