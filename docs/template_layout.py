"""Where the nodes, notes, groups and wires of a template lie: boxes beside and below each other, like a page's.

A template reads from left to right. Its nodes stand in columns, the columns in groups with titles, and groups and notes
beside (`Row`) or below (`Stack`) each other. Sizes are in the frontend's pixels at zoom 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

# The frontend fits a template into its window and draws no text below a zoom that windows of 1,600 by 1,000 and
# 1,920 by 950 pixels reach with a graph of this size.
WIDEST, HIGHEST = 2050, 1240
TITLE = 30  # of a node, above its position
GROUP_TITLE, INSIDE = 34, 12  # of a group: its title, and the room around its columns
BESIDE, BELOW = 40, 24  # between columns, where wires turn; between nodes, above the lower one's title
BETWEEN = 18  # between groups
# Of a note's text: the height of its letters by the mark that begins a paragraph, and what they take in parts of that.
LETTERS = {"# ": 20, "## ": 15, "": 10}
CHARACTER, BOLD_CHARACTER, LINE, GAP = 0.51, 0.56, 1.25, 1.1
NOTE_SIDES, NOTE_ENDS = 32, 16

LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
Sizes = Mapping[int, tuple[float, float]]


@dataclass(frozen=True)
class Rectangle:
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True)
class Note:
    """Text in Markdown; as wide as what it stands on, unless `width` is given."""

    text: str
    width: float = 0


@dataclass(frozen=True)
class Group:
    """Columns of nodes, by their ids, from left to right and top to bottom."""

    title: str
    columns: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Row:
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Stack:
    boxes: tuple[Box, ...]


Box = Note | Group | Row | Stack


def group(title: str, *columns: Sequence[int]) -> Group:
    return Group(title, tuple(map(tuple, columns)))


def row(*boxes: Box) -> Row:
    return Row(boxes)


def stack(*boxes: Box) -> Stack:
    return Stack(boxes)


@dataclass(frozen=True)
class Placed:
    """Rectangles of the nodes without their titles, of the groups and of the notes."""

    nodes: dict[int, Rectangle]
    groups: list[tuple[Group, Rectangle]]
    notes: list[tuple[Note, Rectangle]]


def place(box: Box, sizes: Sizes) -> Placed:
    """Where everything in a box lies, from (0, 0)."""
    placed = Placed({}, [], [])
    _place(box, 0, 0, _width(box, sizes), sizes, placed)
    return placed


def note_height(text: str, width: float) -> float:
    """What a note needs for its text, its title apart."""
    height = NOTE_ENDS
    for paragraph in text.strip().split("\n\n"):
        mark, letters = next((mark, high) for mark, high in LETTERS.items() if paragraph.startswith(mark))
        plain = LINK.sub(r"\1", paragraph.removeprefix(mark))
        wide = letters * (BOLD_CHARACTER if mark else CHARACTER)
        lines = ceil(
            len(plain) / ((width - NOTE_SIDES) / wide - 3)
        )  # words that do not fit leave half of their letters
        height += letters * (lines * LINE + GAP)
    return height


def _column_width(column: Sequence[int], sizes: Sizes) -> float:
    return max(sizes[node][0] for node in column)


def _width(box: Box, sizes: Sizes) -> float:
    match box:
        case Note(width=width):
            return width
        case Group(columns=columns):
            return 2 * INSIDE + sum(_column_width(c, sizes) for c in columns) + BESIDE * (len(columns) - 1)
        case Row(boxes=boxes):
            return sum(_width(b, sizes) for b in boxes) + BETWEEN * (len(boxes) - 1)
        case Stack(boxes=boxes):
            return max(_width(b, sizes) for b in boxes)


def _place(box: Box, x: float, y: float, width: float, sizes: Sizes, placed: Placed) -> float:
    """Place a box at (x, y), as wide as it may be; answers where it ends below."""
    match box:
        case Note(text=text):
            bottom = y + TITLE + note_height(text, width)
            placed.notes.append((box, Rectangle(x, y + TITLE, x + width, bottom)))
            return bottom
        case Group():
            return _place_group(box, x, y, width, sizes, placed)
        case Row(boxes=boxes):
            bottoms = []
            for inner in boxes:
                own = _width(inner, sizes) or width
                bottoms.append(_place(inner, x, y, own, sizes, placed))
                x += own + BETWEEN
            return max(bottoms)
        case Stack(boxes=boxes):
            for inner in boxes:
                y = _place(inner, x, y, width, sizes, placed) + BETWEEN
            return y - BETWEEN


def _place_group(box: Group, x: float, y: float, width: float, sizes: Sizes, placed: Placed) -> float:
    left, bottom = x + INSIDE, y
    spare = width - _width(box, sizes)
    between = BESIDE + (spare / (len(box.columns) - 1) if len(box.columns) > 1 else 0)
    for column in box.columns:
        wide, top = _column_width(column, sizes), y + GROUP_TITLE + TITLE
        for node in column:
            placed.nodes[node] = Rectangle(left, top, left + sizes[node][0], top + sizes[node][1])
            top += sizes[node][1] + TITLE + BELOW
        bottom = max(bottom, top - TITLE - BELOW + INSIDE)
        left += wide + min(between, BESIDE * 2)
    placed.groups.append((box, Rectangle(x, y, x + width, bottom)))
    return bottom


def with_title(node: Rectangle) -> Rectangle:
    return Rectangle(node.left, node.top - TITLE, node.right, node.bottom)


def wire(start: tuple[float, float], end: tuple[float, float], pieces: int = 40) -> Iterator[tuple[float, float]]:
    """Points of the curve that the frontend draws from an output to an input: a Bezier curve with level ends."""
    (x, y), (u, v) = start, end
    reach = ((u - x) ** 2 + (v - y) ** 2) ** 0.5 / 4
    for piece in range(pieces + 1):
        t = piece / pieces
        a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
        yield a * x + b * (x + reach) + c * (u - reach) + d * u, (a + b) * y + (c + d) * v


def under(points: Iterable[tuple[float, float]], boxes: Iterable[Rectangle], tolerance: float = 0) -> bool:
    """Whether any of the points lies in one of the boxes, further in than the tolerance."""
    found = list(boxes)
    return any(
        box.left + tolerance < x < box.right - tolerance and box.top + tolerance < y < box.bottom - tolerance
        for x, y in points
        for box in found
    )
