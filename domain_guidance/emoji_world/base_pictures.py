"""The pictures that the base learns from, as latents: named things, and others that no word asks for.

The others are there for the empty prompt: what the base makes of a noisy picture without being told what it shows
should hold for any drawing, not only for those that it knows by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .prompts import Prompts
from .scenes import lay
from .things import GROUNDS, HANDS, SKETCH, SOFT, STYLES, THINGS
from .variations import sketched, softly_lit, variations

SEED, VARIED_SEED, SKETCHED_SEED, SOFT_SEED = 6464, 77, 78, 79
SHEETS = 4  # of paper for each sketch
LIGHTS = 8  # in which each thing is shown softly lit
ON_WHITE_SHARE = 0.6  # of the pictures in looks without a word
CHUNK = 64


@dataclass(frozen=True)
class BasePictures:
    """Latents [N, 32, 8, 8] with the indices [N] of what they show, -1 for what has no word."""

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


@torch.no_grad()
def paint_others(drawn: Mapping[str, Tensor], encode: Callable[[Tensor], Tensor]) -> BasePictures:
    """Paint every other drawing in every hand, each twice, on a ground and at a place by chance, and once mirrored."""
    generator = torch.Generator().manual_seed(SEED)
    count = len(next(iter(drawn.values())))
    _, which, hand = torch.cartesian_prod(torch.arange(2), torch.arange(count), torch.arange(len(HANDS))).unbind(1)
    ground = torch.randint(len(GROUNDS), (len(which),), generator=generator)
    pool = torch.stack([drawn[name] for name in HANDS])
    latents = []
    for part in torch.arange(len(which)).split(CHUNK):
        laid = lay(pool[hand[part], which[part]], ground[part], generator)
        mirrored = (part >= len(which) // 2).view(-1, 1, 1, 1)
        latents.append(encode(torch.where(mirrored, laid.flip(3), laid)))
    return BasePictures(torch.cat(latents).contiguous(), torch.full_like(which, -1), hand.clone(), ground)


@torch.no_grad()
def paint_varied(
    things: Mapping[str, Tensor], others: Mapping[str, Tensor], encode: Callable[[Tensor], Tensor]
) -> BasePictures:
    """Paint things and other drawings in looks without a word: things in all `variations`, others in two of each hand.

    Most lie on white, as sketches do.
    """
    generator, parts = torch.Generator().manual_seed(VARIED_SEED), []
    for drawn, named in ((things, True), (others, False)):
        for number, hand in enumerate(HANDS):
            looks = variations(drawn[hand], generator)
            for look in looks if named else (looks[number], looks[(number + 2) % 4]):
                parts.append(_painted_look(look, named, encode, generator))
    latents, thing, ground = (torch.cat(each) for each in zip(*parts))
    return BasePictures(latents.contiguous(), thing, torch.full_like(thing, -1), ground)


@torch.no_grad()
def paint_sketched(drawn: Mapping[str, Tensor], encode: Callable[[Tensor], Tensor]) -> BasePictures:
    """Paint every thing of every hand sketched in bold and in fine lines, SHEETS times, most of them on white."""
    generator, parts = torch.Generator().manual_seed(SKETCHED_SEED), []
    for _ in range(SHEETS):
        for hand in HANDS:
            for bold in (True, False):
                parts.append(_painted_look(sketched(drawn[hand], bold), True, encode, generator))
    latents, thing, ground = (torch.cat(each) for each in zip(*parts))
    return BasePictures(latents.contiguous(), thing, torch.full_like(thing, STYLES.index(SKETCH)), ground)


@torch.no_grad()
def paint_soft(
    things: Mapping[str, Tensor], others: Mapping[str, Tensor], encode: Callable[[Tensor], Tensor]
) -> BasePictures:
    """Paint every drawing of every hand softly lit on every ground: things in LIGHTS lights, others in one."""
    generator, parts = torch.Generator().manual_seed(SOFT_SEED), []
    for drawn, named, times in ((things, True, LIGHTS), (others, False, 1)):
        for hand in tuple(HANDS) * times:
            look = torch.cat([softly_lit(some, generator) for some in drawn[hand].split(CHUNK)])
            parts.append(_painted_look(look, named, encode, generator, on_white=0.0))
    latents, thing, ground = (torch.cat(each) for each in zip(*parts))
    return BasePictures(latents.contiguous(), thing, torch.full_like(thing, STYLES.index(SOFT)), ground)


def _painted_look(
    look: Tensor,
    named: bool,
    encode: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    on_white: float = ON_WHITE_SHARE,
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, things and grounds of drawings in one look; what has a word stays in its place.

    on_white: how many lie on white, beside those whose ground comes by chance.
    """
    count = len(look)
    ground = torch.randint(len(GROUNDS), (count,), generator=generator)
    white = torch.rand(count, generator=generator) < on_white
    ground = ground.masked_fill(white, list(GROUNDS).index("white"))
    latents = [
        encode(lay(some, on, generator, moved=not named)) for some, on in zip(look.split(CHUNK), ground.split(CHUNK))
    ]
    return torch.cat(latents), torch.arange(count) if named else torch.full((count,), -1), ground
