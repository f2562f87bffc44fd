"""The judge, a small convolutional net that reads digit, stroke and ground.

Distances are those of its features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


class FeatureNet(nn.Module):
    """Pictures [N, 3, 16, 16] in [-1, 1] to logits for each of CLASSES; the features are what the three heads share."""

    centre: Tensor
    scale: Tensor

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *_block(CHANNELS, 32, stride=1),
            *_block(32, 64, stride=2),
            *_block(64, 96, stride=1),
            *_block(96, 96, stride=2),
            nn.Flatten(),
            nn.Linear(96 * 4 * 4, WIDTH),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, classes) for name, classes in CLASSES.items()})
        self.register_buffer("centre", torch.zeros(WIDTH))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.body(images)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Give the features of these pictures mean 0 and a mean variance of 1, so that distances have a unit."""
        features = self.body(images)
        self.centre.copy_(features.mean(0))
        self.scale.copy_(features.var(0).mean().sqrt())

    @torch.no_grad()
    def read(self, images: Tensor) -> Reading:
        """Judge pictures; samples may leave [-1, 1] a little, and are clamped as a viewer would."""
        features = self.body(images.clamp(-1, 1))
        answers = {name: head(features).argmax(1) for name, head in self.heads.items()}
        return Reading(**answers, features=(features - self.centre) / self.scale)


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
