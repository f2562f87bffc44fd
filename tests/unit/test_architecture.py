"""The house as docs/architecture.md shows it: floors, docstrings, and a page and a drawing that agree with the code."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))

import layout
import make_architecture
import rooms

FOUND = rooms.arrows(ROOT)
PACKAGES = sorted(
    path.relative_to(ROOT) for folder in ("domain_guidance", "nodes") for path in (ROOT / folder).rglob("__init__.py")
)


def test_every_arrow_leads_down_and_there_is_no_circle():
    assert rooms.problems(FOUND) == []


def test_every_room_of_the_library_has_a_floor_and_every_floor_only_rooms_that_are_there():
    present = {rooms.room_of(path) for path in rooms.source_files(ROOT)} - {None}
    assert present == set(rooms.floors())


def house(tmp_path, files):
    """A small library of the given sources, with empty `__init__` files."""
    for name, source in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(source)
    return rooms.arrows(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "from ..runs.loop import go",
        "from ..runs import loop",
        "from .. import runs",
        "import domain_guidance.runs.loop",
        "from domain_guidance import runs",
        "def later():\n    from ..runs import loop",
        "if TYPE_CHECKING:\n    from ..runs import loop",
    ],
)
def test_an_upward_import_is_found_however_it_is_written(tmp_path, source):
    found = house(tmp_path, {"domain_guidance/runs/loop.py": "", "domain_guidance/files/names.py": source})
    assert found == {("files", "runs"): ["domain_guidance/files/names.py"]}
    assert "files (floor 1) imports runs (floor 2) in domain_guidance/files/names.py" in rooms.problems(found)[0]


def test_a_room_that_imports_from_its_own_floor_is_said():
    assert "imports data (floor 2)" in rooms.problems({("runs", "data"): ["a.py"]})[0]


def test_a_room_without_a_floor_is_said(tmp_path):
    found = house(tmp_path, {"domain_guidance/attic/boxes.py": "from ..files import names"})
    assert rooms.problems(found) == []  # nothing of that name is there to import
    found = house(tmp_path, {"domain_guidance/files/names.py": ""})
    assert rooms.problems(found) == ["attic stands on no floor: give it one in docs/rooms.py."]


def test_a_circle_is_said_in_the_order_of_its_imports():
    circle = {("training", "domains"): [], ("domains", "files"): [], ("files", "training"): []}
    (said,) = [line for line in rooms.problems(circle) if "circle" in line]
    assert sum(f"{here} imports {there}" in said for here, there in circle) >= 2
    assert "training imports files" not in said


def test_only_what_a_chain_of_others_implies_is_left_out_of_the_drawing():
    assert rooms.drawn([("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")]) == [("a", "b"), ("a", "d"), ("b", "c")]
    assert _reachable(rooms.drawn(FOUND)) == _reachable(FOUND)


def _reachable(arrows):
    pairs = set(arrows)
    while more := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs |= more
    return pairs


def test_a_drawing_puts_crossed_rooms_in_an_order_without_crossings_and_keeps_them_apart():
    rows, links = [["a", "b"], ["c", "d"]], [("a", "d"), ("b", "c")]
    rows = layout.ordered(rows, links)
    assert rows[0].index("a") == rows[1].index("d")
    x = layout.across(rows, links, dict.fromkeys("abcd", 10))
    assert x["a"] == pytest.approx(x["d"]) and abs(x["a"] - x["b"]) >= 10


def test_the_drawing_and_the_table_agree_with_the_imports():
    remade = "run python docs/make_architecture.py"
    assert make_architecture.DRAWING.read_text(encoding="utf-8") == make_architecture.drawing(rooms.drawn(FOUND)), (
        remade
    )
    text = make_architecture.PAGE.read_text(encoding="utf-8")
    assert make_architecture.table(FOUND) in text, remade
    assert make_architecture.page(text, FOUND) == text, remade


def test_the_script_refuses_to_draw_a_house_that_is_not_in_order(monkeypatch, capsys):
    monkeypatch.setattr(make_architecture, "arrows", lambda root: {("files", "runs"): ["a.py"]})
    monkeypatch.setattr(make_architecture, "DRAWING", None)
    assert make_architecture.main() == 1
    assert "only from the floors below" in capsys.readouterr().err


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.as_posix())
def test_the_first_line_of_a_folders_docstring_says_what_it_holds(path):
    first, _, rest = (ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or "").partition("\n")
    assert len(first.split()) >= 4 and first.endswith("."), "one sentence on the first line"
    assert not rest or rest.startswith("\n"), "an empty line after the first"


def test_the_page_names_only_files_that_are_there():
    text = make_architecture.PAGE.read_text(encoding="utf-8")
    named = [name.split("`")[0] for name in text.split("`")[1::2]]
    paths = [name for name in named if name.startswith(("domain_guidance/", "nodes/", "docs/", "tests/"))]
    assert len(paths) >= 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
