"""How good the world is, as the judge reads it: what the base draws, and how far the domains carry what they never saw.

For things that a domain was not shown, the domain's own drawings exist all the same: they are what a picture should
have come to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..evaluation.scores import kernel_distance, share
from .drawing import Artist, Guidance, draw
from .judge import READ_HANDS, Judge, Reading
from .prompts import Prompts, encode
from .scenes import lay
from .things import ASKED_STYLE, GROUNDS, HANDS, ON_WHITE, STYLES, THINGS, held_out

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
class Task:
    """What is drawn to see how far a domain carries: things that it was never shown, in the style of ASKED_STYLE.

    hand: of the domain. thing, ground: indices [N] of what its true drawings show. Where all of them lie on white, that
    is the domain's to bring, and the prompt leaves the ground open.
    """

    hand: str
    thing: Tensor
    ground: Tensor

    def encoded(self, table: Tensor) -> Tensor:
        """The prompts, [N, 4, 64]."""
        style = ASKED_STYLE[self.hand]
        left_open = torch.full_like(self.thing, -1)
        asked = left_open if style is None else torch.full_like(self.thing, STYLES.index(style))
        return encode(Prompts(self.thing, asked, left_open if self.hand == ON_WHITE else self.ground), table)


@dataclass(frozen=True)
class DomainScore:
    """What the judge reads in pictures of things that the domain was never shown.

    thing: the share that show what was asked. hand: that are in the domain's hand. distance: the kernel distance to
    the domain's own drawings of these things. nearest: the share whose nearest drawing of the domain, among those of
    all things, is the right one. error: the mean distance to that one, over the mean distance of two drawings of the
    domain that show different things.
    """

    thing: float
    hand: float
    distance: float
    nearest: float
    error: float


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
    return BaseScore(share(ours.thing, thing), share(ours.hand, hand), share(real.thing, thing), share(real.hand, hand))


def score_domain(
    artist: Artist,
    judge: Judge,
    drawn: Mapping[str, Tensor],
    hand: str,
    guidance: Guidance,
    seed: int = SEED,
    repeats: int = REPEATS,
) -> DomainScore:
    """Draw the domain's `task` and judge it. drawn: of `read_drawings`."""
    given = task(hand, repeats)
    return judged(judge, drawn, given, draw(artist, given.encoded(artist.table), guidance, seed), seed)


def task(hand: str, repeats: int = REPEATS) -> Task:
    """Each held-out thing `repeats` times on `grounds_of` the domain."""
    things = torch.tensor(held_out()).repeat(repeats)
    return Task(hand, things, grounds_of(hand, len(things)))


def judged(judge: Judge, drawn: Mapping[str, Tensor], given: Task, images: Tensor, seed: int = SEED) -> DomainScore:
    """What the judge reads in pictures [N, 3, 64, 64] of a task. drawn: of `read_drawings`."""
    generator = torch.Generator().manual_seed(seed)
    ours = judge.read(images)
    truth = judge.read(lay(drawn[given.hand][given.thing], given.ground, generator))
    return DomainScore(
        share(ours.thing, given.thing),
        share(ours.hand, torch.full_like(given.thing, READ_HANDS.index(given.hand))),
        kernel_distance(ours.features, truth.features),
        share(_nearest(ours, judge, drawn[given.hand], given.ground, generator), given.thing),
        _error(ours.features, truth.features, given.thing),
    )


def _error(ours: Tensor, truth: Tensor, things: Tensor) -> float:
    """The mean distance of features [N, D] to the true ones, over that of true ones of different things."""
    apart = torch.cdist(truth, truth)[things[:, None] != things]
    return ((ours - truth).norm(dim=1).mean() / apart.mean()).item()


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
