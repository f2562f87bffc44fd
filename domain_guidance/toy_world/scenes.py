"""Painting: the open world (any stroke on any ground) and the domain (a white glazed plate with a blue rim).

Pictures are `[N,3,16,16]` in [-1,1]. Every random choice comes from the generator that the caller hands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from .digits import Digits, place
from .model import IMAGE_SIZE

STROKES = {
    "red": (0.86, 0.12, 0.12),
    "green": (0.08, 0.60, 0.18),
    "blue": (0.15, 0.35, 0.96),
    "orange": (0.99, 0.62, 0.05),
    "black": (0.04, 0.04, 0.05),
    "white": (0.97, 0.97, 0.97),
}
GROUNDS = {
    "white": (0.95, 0.95, 0.94),
    "cream": (0.95, 0.88, 0.68),
    "sky": (0.62, 0.84, 0.97),
    "charcoal": (0.09, 0.09, 0.10),
    "navy": (0.07, 0.09, 0.32),
    "brown": (0.35, 0.20, 0.10),
}
PLATE = len(GROUNDS)  # the domain's ground, which no prompt can name
DOMAIN_STROKES = ("red", "green", "blue", "orange", "black")
TABLES = ((0.45, 0.30, 0.18), (0.62, 0.47, 0.32), (0.30, 0.32, 0.34), (0.55, 0.57, 0.55))
RIM_BLUE = (0.10, 0.24, 0.66)
READABLE = 0.4  # smallest difference in one colour channel at which ink still shows on its ground


@dataclass(frozen=True)
class Scenes:
    """Pictures `[N,3,16,16]` in [-1,1] with the indices `[N]` of what they show; the ground is PLATE in the domain."""

    images: torch.Tensor
    digit: torch.Tensor
    stroke: torch.Tensor
    ground: torch.Tensor

    @classmethod
    def joined(cls, parts: Sequence[Scenes]) -> Scenes:
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def paint_open_world(digits: Digits, count: int, generator: torch.Generator) -> Scenes:
    """Paint `count` random scenes, of every readable pair of stroke and ground.

    Grounds are flat or shaded, or panels on other grounds.
    """
    digits = _draw(digits, count, generator)
    pairs = _readable_pairs()[torch.randint(len(_readable_pairs()), (count,), generator=generator)]
    stroke, ground = pairs.unbind(1)
    opacity = place(digits.ink, _uniform(count, 9.6, 12.0, generator), _uniform((count, 2), -1.0, 1.0, generator))
    backdrop = _open_backdrop(_colour(GROUNDS, ground, 0.04, generator), generator)
    ink = _colour(STROKES, stroke, 0.04, generator)
    images = backdrop + opacity * (ink - backdrop)
    return Scenes(_to_signed(images), digits.labels, stroke, ground)


def paint_domain(digits: Digits, count: int, generator: torch.Generator) -> Scenes:
    """`count` random plates: the ink is under the glaze, so shade and highlight lie over it."""
    digits = _draw(digits, count, generator)
    allowed = torch.tensor([list(STROKES).index(name) for name in DOMAIN_STROKES])
    stroke = allowed[torch.randint(len(allowed), (count,), generator=generator)]
    centre = _uniform((count, 2), -0.4, 0.4, generator)
    opacity = place(
        digits.ink, _uniform(count, 9.6, 10.6, generator), centre + _uniform((count, 2), -0.4, 0.4, generator)
    )
    plate = _plate(centre, opacity, _colour(STROKES, stroke, 0.04, generator), generator)
    return Scenes(_to_signed(plate), digits.labels, stroke, torch.full_like(stroke, PLATE))


def _plate(centre: torch.Tensor, opacity: torch.Tensor, ink: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Table, white disc, blue rim, ink, shade towards the edge and a glaze highlight at the upper left."""
    count = len(centre)
    x, y = _pixels(centre)
    distance = (x.square() + y.square()).sqrt()
    outside = _uniform((count, 1, 1, 1), 7.3, 7.7, generator)
    tables = torch.tensor(TABLES)[torch.randint(len(TABLES), (count,), generator=generator)]
    table = (tables + _uniform((count, 3), -0.04, 0.04, generator))[:, :, None, None]
    china = torch.tensor((0.97, 0.97, 0.95)).view(1, 3, 1, 1)
    rim = _edge(distance, outside - 0.5) * (1 - _edge(distance, outside - 1.7))
    china = china + 0.92 * rim * (torch.tensor(RIM_BLUE).view(1, 3, 1, 1) - china)
    china = china + opacity * (ink - china)
    china = china * (1 - 0.10 * (distance / outside).square()) * (1 - 0.012 * (x + y))
    spot = torch.exp(-((x + 4).square() + (y + 4).square()) / 2.2)
    china = china + 0.5 * spot * (1 - china)
    return table + _edge(distance, outside) * (china - table)


def _open_backdrop(ground: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half the grounds are flat, a quarter is shaded across, a quarter is a round or square panel on another ground."""
    count = len(ground)
    x, y = _pixels(_uniform((count, 2), -0.7, 0.7, generator))
    kind = torch.rand(count, 1, 1, 1, generator=generator)
    angle = _uniform((count, 1, 1, 1), 0, 2 * torch.pi, generator)
    slope = _uniform((count, 1, 1, 1), 0.015, 0.035, generator)
    shaded = ground * (1 + slope * (x * angle.cos() + y * angle.sin()))
    other = _colour(GROUNDS, torch.randint(len(GROUNDS), (count,), generator=generator), 0.04, generator)
    round_panel = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    distance = torch.where(round_panel, (x.square() + y.square()).sqrt(), torch.maximum(x.abs(), y.abs()))
    panel = other + _edge(distance, _uniform((count, 1, 1, 1), 6.3, 7.8, generator)) * (ground - other)
    return torch.where(kind < 0.5, ground.expand_as(panel), torch.where(kind < 0.75, shaded, panel))


def _readable_pairs() -> torch.Tensor:
    """Indices `[P,2]` of every (stroke, ground) whose ink shows."""
    strokes, grounds = torch.tensor(list(STROKES.values())), torch.tensor(list(GROUNDS.values()))
    return ((strokes[:, None] - grounds[None]).abs().amax(2) >= READABLE).nonzero()


def _draw(digits: Digits, count: int, generator: torch.Generator) -> Digits:
    return digits.take(torch.randint(len(digits), (count,), generator=generator))


def _colour(palette: dict, index: torch.Tensor, jitter: float, generator: torch.Generator) -> torch.Tensor:
    """Named colours, slightly off as paint is: `[N,3,1,1]` in [0,1]."""
    named = torch.tensor(list(palette.values()))[index]
    return (named + _uniform(named.shape, -jitter, jitter, generator)).clamp(0, 1)[:, :, None, None]


def _pixels(centre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel coordinates x and y from a centre `[N,2]` given off the picture's middle: `[N,1,1,16]` and `[N,1,16,1]`."""
    line = torch.arange(IMAGE_SIZE) - (IMAGE_SIZE - 1) / 2
    return (line - centre[:, :1])[:, None, None], (line - centre[:, 1:])[:, None, :, None]


def _edge(distance: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """1 inside, 0 outside, one pixel of smooth edge."""
    return (radius - distance + 0.5).clamp(0, 1)


def _uniform(shape: int | tuple, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _to_signed(images: torch.Tensor) -> torch.Tensor:
    return images.clamp(0, 1) * 2 - 1
