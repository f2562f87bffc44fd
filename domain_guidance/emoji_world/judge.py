"""The judge, a small convolutional net that reads which thing a picture shows and whose hand drew it.

It is trained on every drawing, also on those that the domains are never shown, because it says how far they come, and
on these drawings in other looks: a judge that had seen five drawings of a thing, and those alone, read it in one line
drawing of three.
Distances are those of its features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..evaluation.reading_net import ReadingNet
from ..runs import Objective
from .scenes import lay
from .things import DOMAINS, GROUNDS, HANDS, ON_WHITE, THINGS
from .variations import variations

WIDTH = 128  # features per picture
READ_HANDS = (*HANDS, *DOMAINS)
CLASSES = {"thing": len(THINGS), "hand": len(READ_HANDS)}
GRAIN = 0.15  # strongest noise that the judge learns to read through
BLUR = 0.5  # share of the pictures that are blurred a little: what a network draws is softer than what people draw


@dataclass(frozen=True)
class Scenes:
    """Pictures [N, 3, 64, 64] in [-1, 1] with indices [N]: the things they show, and of READ_HANDS or -1."""

    images: Tensor
    thing: Tensor
    hand: Tensor


@dataclass(frozen=True)
class Reading:
    """What the judge sees in N pictures: indices `thing` and `hand` [N] and calibrated `features` [N, 128]."""

    thing: Tensor
    hand: Tensor
    features: Tensor


class Judge(ReadingNet):
    """The judge of pictures [N, 3, 64, 64]."""

    def __init__(self):
        widths = (3, 24, 48, 96, 128)
        layers = [layer for inputs, outputs in zip(widths, widths[1:]) for layer in _halving(inputs, outputs)]
        body = nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(widths[-1] * 2 * 2, WIDTH))
        super().__init__(body, WIDTH, CLASSES)

    def read(self, images: Tensor) -> Reading:
        return Reading(**self.answers(images))


def paint_every_hand(drawn: Mapping[str, Tensor], count: int, generator: torch.Generator) -> Scenes:
    """Paint `count` random things, each in a random hand on a random ground; ink lies on white alone."""
    thing = torch.randint(len(THINGS), (count,), generator=generator)
    hand = torch.randint(len(READ_HANDS), (count,), generator=generator)
    ground = torch.randint(len(GROUNDS), (count,), generator=generator)
    ground = ground.masked_fill(hand == READ_HANDS.index(ON_WHITE), list(GROUNDS).index("white"))
    chosen = [drawn[READ_HANDS[by]][what] for what, by in zip(thing.tolist(), hand.tolist())]
    return Scenes(lay(torch.stack(chosen), ground, generator), thing, hand)


def paint_in_looks(drawn: Mapping[str, Tensor], count: int, generator: torch.Generator) -> Scenes:
    """As `paint_every_hand`, but half of the pictures are in the looks of `variations`, which are nobody's hand."""
    plain = paint_every_hand(drawn, count - count // 2, generator)
    thing = torch.randint(len(THINGS), (count // 2,), generator=generator)
    hand = torch.randint(len(READ_HANDS), (count // 2,), generator=generator)
    ground = torch.randint(len(GROUNDS), (count // 2,), generator=generator)
    chosen = torch.stack([drawn[READ_HANDS[by]][what] for what, by in zip(thing.tolist(), hand.tolist())])
    looks = torch.stack(variations(chosen, generator))
    number = torch.arange(count // 2)
    images = lay(looks[number % len(looks), number], ground, generator)
    return Scenes(
        torch.cat([plain.images, images]),
        torch.cat([plain.thing, thing]),
        torch.cat([plain.hand, torch.full_like(hand, -1)]),
    )


def judge_objective(judge: Judge, paint: Callable[[torch.Generator], Scenes]) -> Objective:
    """The judge's objective for the training loop: cross-entropy summed over its two questions.

    paint: a batch of scenes from a generator. Fresh noise and blur keep grain and softness from deciding.
    """

    def objective(generator: torch.Generator) -> Tensor:
        scenes = paint(generator)
        logits = judge(_worn(scenes.images, generator))
        return F.cross_entropy(logits["thing"], scenes.thing) + F.cross_entropy(
            logits["hand"], scenes.hand, ignore_index=-1
        )

    return objective


def _worn(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures as a network might have drawn them: some a little soft, all with some grain."""
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blurred = torch.rand(len(images), 1, 1, 1, generator=generator) < BLUR
    grain = GRAIN * torch.rand(len(images), 1, 1, 1, generator=generator)
    noisy = torch.where(blurred, soft, images) + grain * torch.randn(images.shape, generator=generator)
    return noisy.clamp(-1, 1)


def _halving(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()]
