"""Where the rooms and arrows of a drawing lie: floors one above the other, few crossings, short arrows.

The usual four steps of a layered drawing (Sugiyama, Tagawa and Toda, 1981), for a graph small enough to be exact about
crossings: long arrows get a bend on every floor that they pass, neighbours change places while that helps, and each
floor is then pulled towards what it is connected with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

ROUNDS = 60


@dataclass(frozen=True)
class Bend:
    """Where arrows to `room` pass through a floor. Arrows to the same room share it."""

    room: str
    floor: int


Place = str | Bend
Link = tuple[Place, Place]


def links(arrows: Sequence[tuple[str, str]], floor: Mapping[str, int]) -> list[Link]:
    """Each arrow as links from one floor to the next, through bends."""
    found: dict[Link, None] = {}
    for here, there in arrows:
        stops = [here, *(Bend(there, level) for level in range(floor[here] - 1, floor[there], -1)), there]
        found.update(dict.fromkeys(zip(stops, stops[1:])))
    return list(found)


def ordered(rows: list[list[Place]], found: Sequence[Link]) -> list[list[Place]]:
    """The rows, from the top, with neighbours exchanged for as long as that makes the drawing simpler."""
    rows = [list(row) for row in rows]
    for _ in range(ROUNDS):
        before = _cost(rows, found)
        for row in rows:
            for first in range(len(row)):
                for second in range(first + 1, len(row)):
                    _exchange_if_better(rows, row, first, second, found)
        if _cost(rows, found) == before:
            break
    return rows


def _exchange_if_better(rows: list[list[Place]], row: list[Place], first: int, second: int, found: Sequence[Link]):
    before = _cost(rows, found)
    row[first], row[second] = row[second], row[first]
    if _cost(rows, found) >= before:
        row[first], row[second] = row[second], row[first]


def _cost(rows: Sequence[Sequence[Place]], found: Sequence[Link]) -> tuple[int, int]:
    """Crossings, then how far the links reach sideways, in 1/1000 of a row."""
    share = {place: 2000 * index // len(row) + 1000 // len(row) for row in rows for index, place in enumerate(row)}
    sideways = sum(abs(share[here] - share[there]) for here, there in found)
    crossings = 0
    for upper in rows:
        own = [(share[here], share[there]) for here, there in found if here in upper]
        crossings += sum((a < c and b > d) or (a > c and b < d) for i, (a, b) in enumerate(own) for c, d in own[:i])
    return crossings, sideways


def across(rows: Sequence[Sequence[Place]], found: Sequence[Link], width: Mapping[Place, float]) -> dict[Place, float]:
    """The middle of each place, left to right: as near as their widths allow to the mean of what they are linked to."""
    x = {place: middle for row in rows for place, middle in zip(row, _packed(row, width))}
    joined: dict[Place, list[Place]] = {}
    for here, there in found:
        joined.setdefault(here, []).append(there)
        joined.setdefault(there, []).append(here)
    for _ in range(ROUNDS):
        for row in rows:
            wanted = [_mean([x[other] for other in joined.get(place, [place])]) for place in row]
            x.update(zip(row, _nearest(wanted, _packed(row, width))))
    return x


def _packed(row: Sequence[Place], width: Mapping[Place, float]) -> list[float]:
    """The middles of a row's places, laid side by side around 0."""
    start = -fsum(width[place] for place in row) / 2
    middles = []
    for place in row:
        middles.append(start + width[place] / 2)
        start += width[place]
    return middles


def _nearest(wanted: Sequence[float], packed: Sequence[float]) -> list[float]:
    """The middles nearest to those wanted (least squares, pooled neighbours), as far apart as the packed ones."""
    groups: list[list[float]] = []
    for value in (want - pack for want, pack in zip(wanted, packed)):
        groups.append([value])
        while len(groups) > 1 and _mean(groups[-2]) > _mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    shifts = [_mean(group) for group in groups for _ in group]
    return [pack + shift for pack, shift in zip(packed, shifts)]


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
