"""Ways for the wires of a template, so that none runs under a node or a note.

A wire that is in sight anyway stays as the frontend draws it. Any other takes the shortest way with few bends between
the nodes, over a grid (A*), and gets the frontend's reroutes at its bends. Wires of one output share a way, others keep
apart.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

from template_layout import TITLE, Rectangle, under, wire

Point = tuple[float, float]
Cell = tuple[int, int]
SLOT = 20  # pixels from one socket to the next
STEP, MARGIN, TOLERANCE = 8, 7, 8  # of the grid; around nodes; how far under a node's edge a wire may run
BEND, SHARED, OCCUPIED, NEAR, WORDS = 15.0, 0.4, 6.0, 2.0, 5.0  # costs, in steps
JOG = 3  # steps: of two bends as near as this, which would be two dots over each other, one is made
HURRY = 0.9  # how much of the way ahead counts: the search is faster, and now and then a bend away from the best
LETTER, LINE = 13, 36  # pixels of a group's title
MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1))


def boxes(nodes: Sequence[dict[str, Any]]) -> dict[int, Rectangle]:
    """What each node covers, its title included."""
    return {
        node["id"]: Rectangle(x, y - TITLE, x + node["size"][0], y + node["size"][1])
        for node in nodes
        for x, y in [node["pos"]]
    }


def ends(link: Sequence[Any], covered: dict[int, Rectangle]) -> tuple[Point, Point]:
    """Where a wire leaves its output, and where it meets its input."""
    _, source, output, target, slot, _ = link
    here, there = covered[source], covered[target]
    return (here.right, here.top + TITLE + (output + 0.7) * SLOT), (there.left, there.top + TITLE + (slot + 0.7) * SLOT)


def drawn(points: Sequence[Point]) -> Iterator[Point]:
    """Points of a wire: the frontend's curve, or straight lines by way of reroutes."""
    if len(points) == 2:
        yield from wire(*points)
        return
    for (x, y), (u, v) in zip(points, points[1:]):
        yield from ((x + (u - x) * part / 20, y + (v - y) * part / 20) for part in range(21))


def ways(workflow: dict[str, Any]) -> Iterator[tuple[list[Any], list[Point]]]:
    """Each link of a workflow, and the points that its wire passes."""
    covered = boxes(workflow["nodes"])
    reroutes = {reroute["id"]: reroute for reroute in workflow["extra"].get("reroutes", [])}
    last = {link["id"]: link["parentId"] for link in workflow["extra"].get("linkExtensions", [])}
    for link in workflow["links"]:
        start, end = ends(link, covered)
        bends, parent = [], last.get(link[0])
        while parent is not None:
            bends.insert(0, tuple(reroutes[parent]["pos"]))
            parent = reroutes[parent].get("parentId")
        yield link, [start, *bends, end]


def routed(
    nodes: Sequence[dict[str, Any]], links: Sequence[Sequence[Any]], groups: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The frontend's reroutes, as the `extra` of a saved workflow."""
    covered = boxes(nodes)
    titles = [
        Rectangle(x, y, x + LETTER * len(group["title"]), y + LINE)
        for group in groups
        for x, y, _, _ in [group["bounding"]]
    ]
    grid = _Grid(list(covered.values()), titles)
    reroutes: dict[tuple[Any, ...], dict[str, Any]] = {}
    extensions = []
    hidden = [link for link in links if under(list(drawn(ends(link, covered)))[1:-1], covered.values(), TOLERANCE)]
    for link in sorted(hidden, key=lambda link: _distance(*ends(link, covered))):
        number, source, output = link[:3]
        bends = grid.way(*ends(link, covered), (source, output))
        parent = None
        for place in range(len(bends)):
            key = (source, output, *bends[: place + 1])
            reroute = reroutes.setdefault(
                key,
                {
                    "id": len(reroutes) + 1,
                    **({"parentId": parent} if parent else {}),
                    "pos": list(bends[place]),
                    "linkIds": [],
                },
            )
            reroute["linkIds"].append(number)
            parent = reroute["id"]
        if parent:
            extensions.append({"id": number, "parentId": parent})
    return {"reroutes": list(reroutes.values()), "linkExtensions": extensions} if reroutes else {}


def _distance(start: Point, end: Point) -> float:
    return abs(start[0] - end[0]) + abs(start[1] - end[1])


def _cells(box: Rectangle, margin: float) -> Iterator[Cell]:
    for x in range(int((box.left - margin) // STEP) + 1, int((box.right + margin) // STEP) + 1):
        for y in range(int((box.top - margin) // STEP) + 1, int((box.bottom + margin) // STEP) + 1):
            yield x, y


def _without_jogs(corners: Sequence[Cell]) -> list[tuple[float, float]]:
    """Two corners close to each other as one between them."""
    kept: list[tuple[float, float]] = []
    joined = False
    for x, y in corners:
        joined = not joined and bool(kept) and abs(kept[-1][0] - x) + abs(kept[-1][1] - y) <= JOG
        if joined:
            kept[-1] = ((kept[-1][0] + x) / 2, (kept[-1][1] + y) / 2)
        else:
            kept.append((x, y))
    return kept


class _Grid:
    """Cells of `STEP` pixels; those under a node are closed."""

    def __init__(self, covered: list[Rectangle], titles: list[Rectangle]):
        self.closed = {cell for box in covered for cell in _cells(box, MARGIN)}
        self.words = {cell for box in titles for cell in _cells(box, 0)}
        self.used: dict[Cell, set[Any]] = {}
        self.left = int(min(box.left for box in covered) // STEP) - 8
        self.right = int(max(box.right for box in covered) // STEP) + 8
        self.top = int(min(box.top for box in covered) // STEP) - 6
        self.bottom = int(max(box.bottom for box in covered) // STEP) + 6

    def way(self, start: Point, end: Point, wire_of: Any) -> list[Point]:
        """The bends from one point to another; none if there is no way."""
        first = (int(start[0] // STEP) + 2, round(start[1] / STEP))
        goal = (int(-(-end[0] // STEP)) - 2, round(end[1] / STEP))
        cells = self._search(first, goal, wire_of)
        for cell in cells:
            self.used.setdefault(cell, set()).add(wire_of)
        corners = [
            cell
            for before, cell, after in zip(cells, cells[1:], cells[2:])
            if (cell[0] - before[0], cell[1] - before[1]) != (after[0] - cell[0], after[1] - cell[1])
        ]
        return [(x * STEP, y * STEP) for x, y in _without_jogs(corners)]

    def _search(self, first: Cell, goal: Cell, wire_of: Any) -> list[Cell]:
        begin = (first, (1, 0))
        cost, came = {begin: 0.0}, {begin: None}
        waiting = [(0.0, 0, begin)]
        while waiting:
            _, _, state = heapq.heappop(waiting)
            cell, direction = state
            if cell == goal:
                break
            for move in MOVES:
                there = (cell[0] + move[0], cell[1] + move[1])
                if (there in self.closed and there != goal) or move == (-direction[0], -direction[1]):
                    continue
                if not (self.left <= there[0] <= self.right and self.top <= there[1] <= self.bottom):
                    continue
                after = (there, move)
                price = cost[state] + self._price(there, wire_of) + BEND * (move != direction)
                if price < cost.get(after, float("inf")):
                    cost[after], came[after] = price, state
                    ahead = HURRY * (abs(goal[0] - there[0]) + abs(goal[1] - there[1]))
                    heapq.heappush(waiting, (price + ahead, len(came), after))
        else:
            return []
        cells = []
        while state is not None:
            cells.insert(0, state[0])
            state = came[state]
        return cells

    def _price(self, cell: Cell, wire_of: Any) -> float:
        x, y = cell
        if wire_of in self.used.get(cell, ()):
            return SHARED
        plain = 1 + WORDS * (cell in self.words)
        if cell in self.used:
            return plain + OCCUPIED
        return plain + NEAR * any(self.used.get((x + a, y + b), {wire_of}) != {wire_of} for a, b in MOVES)
