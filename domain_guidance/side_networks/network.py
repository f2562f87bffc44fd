"""The network: a small UNet that reads a noisy latent and the base's answer to it, and writes one latent.

It has no positions in it, so it works at any size, and on video frame by frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, WIDEST = 32, 4  # channels at full resolution for up to 4 latent channels; how many times as wide it gets below
COARSEST = 8  # cells along a side at the coarsest level, where attention sees everything
DEEPEST = 6  # levels
INPUTS = 3  # latents it reads: the noisy one, the base's answer, and the velocity between them
EMBEDDING, FREQUENCIES, GROUPS, HEAD = 128, 16, 8, 32
LEVEL_LIMIT = 6.5  # of the logarithm of noise over signal, which is infinite for pure noise


@dataclass(frozen=True)
class SideShape:
    """How large a side network is: latent channels, channels at full resolution, and levels, each half the last."""

    channels: int
    width: int
    levels: int

    def __post_init__(self):
        if not (0 < self.channels <= 1024 and 0 < self.width <= 1024 and 0 < self.levels <= DEEPEST):
            raise ValueError(
                f"A side network of {self.channels} latent channels, width {self.width} and {self.levels} levels was "
                f"asked for: give 1 to 1024 channels, a width of 1 to 1024 and 1 to {DEEPEST} levels."
            )
        if self.width % HEAD:
            raise ValueError(f"The width of a side network is {self.width}: give a multiple of {HEAD}.")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, the full resolution first."""
        return tuple(self.width * min(2**level, WIDEST) for level in range(self.levels))


def shape_for(channels: int, height: int, width: int) -> SideShape:
    """The shape for latents of so many channels, and height and width in cells (our choice).

    Width grows with the square root of the channels: 32 for up to 4 (SD 1.5, SDXL), 64 for 16 (SD3, Flux), 128 for 48.
    Levels are halved until a side has 8 to 15 cells: 2 for 16 x 16, 4 for 64 x 64, 5 for 128 x 128.
    """
    side = math.sqrt(height * width)
    levels = 1 + max(0, math.floor(math.log2(max(side, 1.0) / COARSEST)))
    return SideShape(channels, WIDTH * math.ceil(math.sqrt(max(channels, 4) / 4)), min(levels, DEEPEST))


def shape_identity(shape: SideShape) -> dict[str, str]:
    """What a resumed run must share of the network's size."""
    return {"the size of the side network": f"{shape.levels} level{'s' * (shape.levels > 1)} of {shape.width} channels"}


class SideNetwork(nn.Module):
    """The correction g of `correction.corrected`. Its output layer starts at zero, so an untrained one corrects
    nothing.
    """

    def __init__(self, shape: SideShape):
        super().__init__()
        self.shape = shape
        widths = shape.widths
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.logspace(-1, 1, FREQUENCIES), persistent=False)
        self.embed = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU()
        )
        self.first = nn.Conv2d(INPUTS * shape.channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, widths[1:]))
        self.middle = nn.ModuleList([_Block(widths[-1]), _Attention(widths[-1]), _Block(widths[-1])])
        self.widen = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(_Block(width) for width in widths[:-1])
        answer = nn.Conv2d(widths[0], shape.channels, 3, padding=1)
        nn.init.zeros_(answer.weight)
        nn.init.zeros_(cast(Tensor, answer.bias))
        self.last = nn.Sequential(nn.GroupNorm(GROUPS, widths[0]), nn.SiLU(), answer)

    def forward(self, read: Tensor, level: Tensor) -> Tensor:
        """read: the three latents side by side, [B, 3 C, H, W], or [B, 3 C, T, H, W] of a video. level: log of noise
        over signal, [B]. Returns [B, C, H, W] or [B, C, T, H, W].
        """
        if read.ndim == 5:
            frames = read.shape[2]
            each = self(read.transpose(1, 2).flatten(0, 1), level.repeat_interleave(frames))
            return each.unflatten(0, (-1, frames)).transpose(1, 2)
        angle = level.clamp(-LEVEL_LIMIT, LEVEL_LIMIT)[:, None] * self.frequencies
        embedding = self.embed(torch.cat([angle.sin(), angle.cos()], dim=1))
        hidden, skipped = self.first(read), []
        for block, narrow in zip(self.down, self.narrow):
            hidden = block(hidden, embedding)
            skipped.append(hidden)
            hidden = narrow(F.avg_pool2d(hidden, 2, ceil_mode=True))
        for block in self.middle:
            hidden = block(hidden, embedding)
        for block, widen, beside in zip(reversed(self.up), reversed(self.widen), reversed(skipped)):
            hidden = block(F.interpolate(widen(hidden), size=beside.shape[2:], mode="nearest") + beside, embedding)
        return self.last(hidden)

    def extra_repr(self) -> str:
        return str(self.shape)


class _Block(nn.Module):
    """Two convolutions beside the identity; the noise level scales and shifts between them."""

    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, width) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.modulation = nn.Linear(EMBEDDING, 2 * width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.convolutions[0](F.silu(self.norms[0](x)))
        hidden = self.norms[1](hidden) * (1 + scale) + shift
        return x + self.convolutions[1](F.silu(hidden))


class _Attention(nn.Module):
    """Every cell sees every other."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.to_qkv = nn.Conv2d(width, 3 * width, 1)
        self.to_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        batch, width, *size = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(batch, 3, width // HEAD, HEAD, -1).transpose(3, 4)
        seen = F.scaled_dot_product_attention(*qkv.unbind(1))
        return x + self.to_out(seen.transpose(2, 3).reshape(batch, width, *size))


def shape_from(values: dict[str, Any]) -> SideShape:
    """The shape of plain values, as a file's metadata hold them. Raises ValueError."""
    if values.keys() != SideShape.__dataclass_fields__.keys() or not all(type(v) is int for v in values.values()):
        raise ValueError(f"A side network of the shape {values} is not known")
    return SideShape(**values)
