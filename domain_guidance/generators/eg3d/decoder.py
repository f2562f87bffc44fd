"""The decoder (arXiv 2112.07945, section 4.2): features of a point to its density and colour."""

from __future__ import annotations

from torch import Tensor, nn

from ..stylegan2 import Dense


class Decoder(nn.Module):
    """Two fully connected layers. rate: the learning-rate multiplier that they were trained with."""

    def __init__(self, features: int, width: int, rate: float = 1.0):
        super().__init__()
        self.net = nn.Sequential(
            Dense(features, width, learning_rate=rate), nn.Softplus(), Dense(width, 1 + features, learning_rate=rate)
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, P, C] to raw densities [N, P], see `marching`, and colours [N, P, C].

        Colours are in [-0.001, 1.001]; the first three can be seen.
        """
        raw = self.net(features)
        return raw[..., 0], raw[..., 1:].sigmoid() * 1.002 - 0.001
