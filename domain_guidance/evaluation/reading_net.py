"""What the judges of small worlds share: some questions, answered from one set of features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ReadingNet(nn.Module):
    """Pictures [N, 3, H, W] in [-1, 1] to logits for each question; the features are what the heads share.

    body: from pictures to features [N, width]. classes: how many answers each question has.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, body: nn.Module, width: int, classes: Mapping[str, int]):
        super().__init__()
        self.body = body
        self.heads = nn.ModuleDict({name: nn.Linear(width, answers) for name, answers in classes.items()})
        self.register_buffer("centre", torch.zeros(width))
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
    def answers(self, images: Tensor) -> dict[str, Tensor]:
        """The likeliest index [N] for each question, and the calibrated `features` [N, width].

        Samples may leave [-1, 1] a little, and are clamped as a viewer would.
        """
        features = self.body(images.clamp(-1, 1))
        found = {name: head(features).argmax(1) for name, head in self.heads.items()}
        return {**found, "features": (features - self.centre) / self.scale}
