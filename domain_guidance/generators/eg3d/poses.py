"""Cameras as a user arranges them."""

from __future__ import annotations

from dataclasses import dataclass
from math import radians
from typing import Literal

import torch
from torch import Tensor

from .camera import grid, orbit

Arrangement = Literal["one", "orbit", "grid"]


@dataclass(frozen=True)
class Poses:
    """One camera, `count` of them once around an ellipse, or rows and columns of them.

    Angles are in degrees, signs as in `camera.cameras`. yaw, pitch: of the middle. yaw_range, pitch_range: how far the
    others go to either side.
    """

    arrangement: Arrangement = "one"
    yaw: float = 0.0
    pitch: float = 0.0
    yaw_range: float = 20.0
    pitch_range: float = 14.0
    count: int = 24
    columns: int = 5
    rows: int = 3

    def __post_init__(self):
        is_high = self.arrangement == "orbit" or (self.arrangement == "grid" and self.rows > 1)
        highest = abs(self.pitch) + (abs(self.pitch_range) if is_high else 0)
        if not highest < 89:
            raise ValueError(
                f"The cameras go up to {highest:g} degrees, expected less than 89: lower pitch or pitch_range."
            )

    def tensor(self) -> Tensor:
        """Poses [N, 2] (yaw, pitch) in radians, as `camera.cameras` takes them."""
        middle = torch.tensor([[radians(self.yaw), radians(self.pitch)]])
        if self.arrangement == "one":
            return middle
        half = {"yaw": radians(self.yaw_range), "pitch": radians(self.pitch_range)}
        return middle + (
            orbit(self.count, tilt=0.0, **half)
            if self.arrangement == "orbit"
            else grid(self.rows, self.columns, **half)
        )
