"""How good the world is, as the judge reads it: what the base draws, and how far the domains carry what they never saw.

For things that a domain was not shown, the domain's own drawings exist all the same: they are what a picture should
have come to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..evaluation import polynomial, squared_mmd
from .drawing import Artist, Guidance, draw
from .judge import READ_HANDS, Judge, Reading
from .prompts import Prompts, encode
from .scenes import lay
from .things import GROUNDS, HANDS, ON_WHITE, THINGS, held_out

SEED = 5150
REPEATS = 4  # pictures of each held-out thing


@dataclass(frozen=True)
class BaseScore:
    """The judge's share of right answers, in [0, 1], on pictures of every thing in every hand of the base.

    thing, hand: of what the base draws. real_thing, real_hand: of the drawings themselves.
    """

    thing: float
    hand: float
    real_thing: float
    real_hand: float


@dataclass(frozen=True)
class DomainScore:
    """What the judge reads in pictures of things that the domain was never shown.

    thing: the share that show what was asked. hand: that are in the domain's hand. distance: the kernel distance to
    the domain's own drawings of these things. nearest: the share whose nearest drawing of the domain, among those of
    all things, is the right one.
    """

    thing: float
    hand: float
    distance: float
    nearest: float


def score_base(
    artist: Artist, judge: Judge, drawn: Mapping[str, Tensor], guidance: Guidance, seed: int = SEED
) -> BaseScore:
    """Draw every thing in every hand of the base once, on a ground by chance. drawn: of `read_drawings`."""
    generator = torch.Generator().manual_seed(seed)
    thing, hand = torch.cartesian_prod(torch.arange(len(THINGS)), torch.arange(len(HANDS))).unbind(1)
    ground = torch.randint(len(GROUNDS), (len(thing),), generator=generator)
    pool = torch.stack([drawn[name] for name in HANDS])
    real = judge.read(lay(pool[hand, thing], ground, generator))
    ours = judge.read(draw(artist, encode(Prompts(thing, hand, ground), artist.table), guidance, seed))
    return BaseScore(
        _share(ours.thing, thing), _share(ours.hand, hand), _share(real.thing, thing), _share(real.hand, hand)
    )


def score_domain(
    artist: Artist,
    judge: Judge,
    drawn: Mapping[str, Tensor],
    hand: str,
    guidance: Guidance,
    seed: int = SEED,
    repeats: int = REPEATS,
) -> DomainScore:
    """Draw each held-out thing `repeats` times on `grounds_of` the domain, with the hand left open."""
    things = torch.tensor(held_out()).repeat(repeats)
    grounds = grounds_of(hand, len(things))
    asked = encode(Prompts(things, torch.full_like(things, -1), grounds), artist.table)
    ours = judge.read(draw(artist, asked, guidance, seed))
    generator = torch.Generator().manual_seed(seed)
    truth = judge.read(lay(drawn[hand][things], grounds, generator))
    return DomainScore(
        _share(ours.thing, things),
        _share(ours.hand, torch.full_like(things, READ_HANDS.index(hand))),
        squared_mmd(polynomial, ours.features, truth.features, unbiased=True),
        _share(_nearest(ours, judge, drawn[hand], grounds, generator), things),
    )


def grounds_of(hand: str, count: int) -> Tensor:
    """Indices [count] of the grounds that a domain's pictures lie on: white alone for ink, else one after the other."""
    if hand == ON_WHITE:
        return torch.full((count,), list(GROUNDS).index("white"))
    return torch.arange(count) % len(GROUNDS)


def _nearest(ours: Reading, judge: Judge, drawings: Tensor, grounds: Tensor, generator: torch.Generator) -> Tensor:
    """Which thing's drawing, laid on the same ground, has the nearest features to each picture's [N]."""
    found = torch.empty_like(ours.thing)
    for ground in grounds.unique():
        real = judge.read(lay(drawings, ground.expand(len(drawings)), generator))
        here = grounds == ground
        found[here] = torch.cdist(ours.features[here], real.features).argmin(1)
    return found


def _share(answers: Tensor, asked: Tensor) -> float:
    return (answers == asked).double().mean().item()
