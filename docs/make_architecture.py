"""Draws architecture.svg and the table of architecture.md from the imports: `python docs/make_architecture.py`.

Ends with 1, and says why, if a room imports from its own floor or one above, or if the imports run in a circle.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

DOCS = Path(__file__).parent
sys.path.append(str(DOCS))

from layout import Bend, Link, Place, across, links, ordered
from rooms import FLOORS, LIBRARY, PLACES, Arrow, arrows, drawn, floors, problems

ROOT = DOCS.parent
DRAWING, PAGE = DOCS / "architecture.svg", DOCS / "architecture.md"
TABLE = re.compile(r"(?<=<!-- made by make_architecture\.py -->\n).*?(?=<!-- end -->)", re.DOTALL)
WITHOUT_DOCSTRING = {"benchmarks": "Measurements: both sides of a comparison in one run."}

LEFT, TOP = 150, 2  # where the rooms begin
STOREY, BOX_WIDTH, BOX_HEIGHT, GAP, LANE = 118, 168, 64, 18, 26
LETTERS = 27  # of the small text that fit into a box
COLOURS = ("#6d4bb0", "#8a4a9e", "#b0437c", "#c2543f", "#b3761a", "#5f8a2c", "#2c8a72", "#2f73a8")  # from the top
TEXT, FAINT, FONT = "#24292f", "#5b6470", "-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


def main() -> int:
    found = arrows(ROOT)
    if wrong := problems(found):
        sys.stderr.write("\n".join(wrong) + "\n")
        return 1
    DRAWING.write_text(drawing(drawn(found)), encoding="utf-8", newline="\n")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8", newline="\n")
    return 0


def described(room: str) -> str:
    """What the room holds: the first line of its docstring."""
    if room in WITHOUT_DOCSTRING:
        return WITHOUT_DOCSTRING[room]
    place = ROOT / PLACES.get(room, f"{LIBRARY}/{room}/")
    file = place / "__init__.py" if place.is_dir() else place
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def label(room: str) -> str:
    return Path(PLACES[room]).name + "/" * PLACES[room].endswith("/") if room in PLACES else f"{room}/"


def page(text: str, found: Mapping[Arrow, object]) -> str:
    """The page with its table made anew."""
    return TABLE.sub(lambda _: table(found), text)


def table(found: Mapping[Arrow, object]) -> str:
    rows = ["| floor | room | holds | imports from |", "|---|---|---|---|"]
    for level, (_, rooms) in zip(range(len(FLOORS), 0, -1), FLOORS):
        for room in rooms:
            others = ", ".join(f"`{label(there)}`" for here, there in found if here == room)
            rows.append(f"| {level} | `{label(room)}` | {described(room)} | {others or 'nothing'} |")
    return "\n" + "\n".join(rows) + "\n\n"


def drawing(shown: Sequence[Arrow]) -> str:
    """The whole picture as SVG text: the same text for the same imports on every machine."""
    floor = floors()
    found = links(shown, floor)
    rows = ordered(_rows(found), found)
    width: dict[Place, float] = {
        place: LANE if isinstance(place, Bend) else BOX_WIDTH + GAP for row in rows for place in row
    }
    middle = across(rows, found, width)
    start = min(middle[place] - width[place] / 2 for row in rows for place in row)
    x = {place: round(value - start) + LEFT for place, value in middle.items()}
    right = max(x[place] + round(width[place] / 2) for row in rows for place in row)
    height = TOP + len(rows) * STOREY
    parts = [*_bands(right), *_curves(found, x, floor), *(_box(room, x[room], floor[room]) for room in floor)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 10} {height}" font-family="{FONT}">\n'
        f'<rect width="{right + 10}" height="{height}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _rows(found: Sequence[Link]) -> list[list[Place]]:
    """Each floor's rooms and bends, from the top."""
    bends = list(dict.fromkeys(place for link in found for place in link if isinstance(place, Bend)))
    count = len(FLOORS)
    return [
        [*rooms, *(bend for bend in bends if bend.floor == count - index)] for index, (_, rooms) in enumerate(FLOORS)
    ]


def _top(floor: int) -> int:
    """The upper edge of a floor's boxes."""
    return TOP + (len(FLOORS) - floor) * STOREY + 18


def _bands(right: int) -> list[str]:
    parts = []
    for index, (title, _) in enumerate(FLOORS):
        level, colour = len(FLOORS) - index, COLOURS[index]
        y, lines = _top(level) - 14, textwrap.wrap(title, 18)
        parts.append(f'<rect x="8" y="{y}" width="{right - 6}" height="92" rx="10" fill="{colour}" opacity="0.07"/>')
        parts.append(f'<text x="22" y="{y + 36}" font-size="26" font-weight="600" fill="{colour}">{level}</text>')
        parts += [
            f'<text x="22" y="{y + 56 + 15 * row}" font-size="12" fill="{FAINT}">{escape(line)}</text>'
            for row, line in enumerate(lines)
        ]
    return parts


def _curves(found: Sequence[Link], x: Mapping[Place, int], floor: Mapping[str, int]) -> list[str]:
    """One curve for each link, in the colour of the floor that its arrow leads to; a head where it reaches a room."""
    parts = []
    for here, there in found:
        level = here.floor if isinstance(here, Bend) else floor[here]
        colour = COLOURS[len(FLOORS) - floor[there.room if isinstance(there, Bend) else there]]
        start = _top(level) + BOX_HEIGHT
        end = _top(level - 1) - (8 if isinstance(there, str) else 0)
        half = (end - start) // 2
        left, right = x[here], x[there]
        down = f"M{left} {start} C{left} {start + half} {right} {end - half} {right} {end}"
        if isinstance(there, Bend):
            down += f" V{end + BOX_HEIGHT}"
        parts.append(f'<path d="{down}" fill="none" stroke="{colour}" stroke-width="1.6" opacity="0.75"/>')
        if isinstance(there, str):
            parts.append(f'<path d="M{right - 5} {end} h10 l-5 8 z" fill="{colour}"/>')
    return parts


def _box(room: str, x: int, level: int) -> str:
    colour, y, left = COLOURS[len(FLOORS) - level], _top(level), x - BOX_WIDTH // 2
    lines = textwrap.wrap(re.split(r"[:,.] |[.]$", described(room).replace("`", ""))[0], LETTERS)
    text = "".join(
        f'<text x="{x}" y="{y + 36 + 14 * row}" font-size="11.5" fill="{FAINT}">{escape(line)}</text>'
        for row, line in enumerate(lines)
    )
    return (
        f'<g text-anchor="middle"><rect x="{left}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7" '
        f'fill="#ffffff" stroke="{colour}" stroke-width="1.5"/>'
        f'<text x="{x}" y="{y + 20}" font-size="14" font-weight="600" fill="{TEXT}">{escape(label(room))}</text>'
        f"{text}</g>"
    )


if __name__ == "__main__":
    sys.exit(main())
