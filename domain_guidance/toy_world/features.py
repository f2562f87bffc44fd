"""The judge, a small convolutional net that reads digit, stroke and ground.

Distances are those of its features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..evaluation.reading_net import ReadingNet
from ..runs import Objective
from .model import CHANNELS
from .scenes import GROUNDS, STROKES, Scenes

WIDTH = 64  # features per picture
CLASSES = {"digit": 10, "stroke": len(STROKES), "ground": len(GROUNDS) + 1}
GRAIN = 0.12  # strongest noise that the judge learns to read through


@dataclass(frozen=True)
class Reading:
    """What the judge sees in N pictures: indices `digit`, `stroke`, `ground` [N] and calibrated `features` [N, 64]."""

    digit: Tensor
    stroke: Tensor
    ground: Tensor
    features: Tensor


class FeatureNet(ReadingNet):
    """The judge of pictures [N, 3, 16, 16]."""

    def __init__(self):
        body = nn.Sequential(
            *_block(CHANNELS, 32, stride=1),
            *_block(32, 64, stride=2),
            *_block(64, 96, stride=1),
            *_block(96, 96, stride=2),
            nn.Flatten(),
            nn.Linear(96 * 4 * 4, WIDTH),
        )
        super().__init__(body, WIDTH, CLASSES)

    def read(self, images: Tensor) -> Reading:
        return Reading(**self.answers(images))


def judge_objective(net: FeatureNet, sources: Sequence[Callable[[torch.Generator], Scenes]]) -> Objective:
    """The judge's objective for the training loop: cross-entropy summed over its three questions.

    sources: callables from a generator to Scenes, whose pictures are judged together. Fresh noise keeps grain from
    deciding.
    """

    def objective(generator: torch.Generator) -> Tensor:
        scenes = Scenes.joined([paint(generator) for paint in sources])
        grain = GRAIN * torch.rand(len(scenes.images), 1, 1, 1, generator=generator)
        noisy = scenes.images + grain * torch.randn(scenes.images.shape, generator=generator)
        logits = net(noisy.clamp(-1, 1))
        losses = (F.cross_entropy(logits[name], getattr(scenes, name)) for name in CLASSES)
        return sum(losses, start=torch.zeros(()))

    return objective


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()]
