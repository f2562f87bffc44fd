"""The rooms of the house and the arrows between them, read from the imports of the source files.

A room is a folder of the library, or a part of the repository that is used as one. Each stands on a floor, and a file
may import only from its own room and from the floors below.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

LIBRARY = "domain_guidance"
FLOORS = (  # from the top; rooms of the library without its name
    ("what is measured and shown", ("benchmarks", "demo")),
    ("the papers in miniature", ("evidence",)),
    ("doors: ComfyUI, command line", ("command line", "nodes", "launcher")),
    ("the commands, the two worlds", ("commands", "toy_world", "emoji_world")),
    ("what is made", ("adaptation", "training", "side_networks", "diffusers_host")),
    ("what it is made with", ("evaluation", "distillation", "domains", "report")),
    ("what everything uses", ("data", "runs", "generators", "guidance")),
    ("the ground", ("pictures", "files", "memory", "diffusion", "meshes")),
)
PLACES = {  # where a room is that is not a folder of the library
    "benchmarks": "benchmarks/",
    "demo": f"{LIBRARY}/demo.py",
    "command line": f"{LIBRARY}/__main__.py",
    "nodes": "nodes/",
    "launcher": "launcher/",
}
ENTRIES = {"run.py": "launcher", "__init__.py": "nodes", f"{LIBRARY}/__init__.py": None}  # files outside every room

Arrow = tuple[str, str]  # the room that imports, the room that it imports from


def floors() -> dict[str, int]:
    """The floor of each room, 1 at the ground."""
    return {room: len(FLOORS) - index for index, (_, rooms) in enumerate(FLOORS) for room in rooms}


def arrows(root: Path) -> dict[Arrow, list[str]]:
    """Every import from one room into another: the files that do it."""
    found: dict[Arrow, set[str]] = {}
    for path in source_files(root):
        here = room_of(path)
        for module in imported(root / path, path):
            there = room_of_module(root, module)
            if here and there and here != there:
                found.setdefault((here, there), set()).add(path.as_posix())
    return {arrow: sorted(files) for arrow, files in sorted(found.items())}


def source_files(root: Path) -> list[Path]:
    """The Python files of the rooms, relative to the root. Tests and the pages' own scripts belong to none."""
    folders = (LIBRARY, "nodes", "launcher", "benchmarks")
    files = [path for folder in folders for path in (root / folder).rglob("*.py")]
    files += [root / name for name in ("run.py", "__init__.py") if (root / name).exists()]
    return sorted(path.relative_to(root) for path in files)


def room_of(path: Path) -> str | None:
    """The room that a source file is in; None for the library's own `__init__`, which imports nothing of it."""
    name = path.as_posix()
    if name in ENTRIES:
        return ENTRIES[name]
    for room, place in PLACES.items():
        if name == place or (place.endswith("/") and name.startswith(place)):
            return room
    return path.parts[1].removesuffix(".py")


def room_of_module(root: Path, module: tuple[str, ...]) -> str | None:
    """The room of an imported name, given as the parts of its dotted path; None if it is none of ours."""
    for length in range(len(module), 0, -1):
        path = Path(*module[:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if (root / file).is_file() and file != Path("__init__.py"):
                return room_of(file)
    return None


def imported(file: Path, path: Path) -> Iterator[tuple[str, ...]]:
    """Every name that a file imports, as the parts of its dotted path from the root. Relative imports are resolved."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = path.parent.parts[: len(path.parent.parts) - node.level + 1] if node.level else ()
            module = (*start, *(node.module.split(".") if node.module else ()))
            yield from ((*module, alias.name) for alias in node.names)


def problems(found: Mapping[Arrow, Iterable[str]]) -> list[str]:
    """What the house does not allow, one sentence each: a room without a floor, an arrow not down, a circle."""
    level = floors()
    rooms = sorted({room for arrow in found for room in arrow})
    said = [f"{room} stands on no floor: give it one in docs/rooms.py." for room in rooms if room not in level]
    for (here, there), files in found.items():
        if here in level and there in level and level[here] <= level[there]:
            said.append(
                f"{here} (floor {level[here]}) imports {there} (floor {level[there]}) in {', '.join(files)}: "
                "a room may import only from the floors below."
            )
    try:
        TopologicalSorter(_below(found)).prepare()
    except CycleError as circle:
        said.append(f"The imports run in a circle: {' imports '.join(reversed(circle.args[1]))}.")
    return said


def drawn(found: Iterable[Arrow]) -> list[Arrow]:
    """The arrows that say something: one that a chain of others implies is left out."""
    below = _below(found)

    def reachable(room: str) -> set[str]:
        return {room}.union(*(reachable(other) for other in below.get(room, ())))

    return [
        (here, there)
        for here, others in sorted(below.items())
        for there in sorted(others)
        if not any(there in reachable(other) for other in others - {there})
    ]


def _below(found: Iterable[Arrow]) -> dict[str, set[str]]:
    below: dict[str, set[str]] = {}
    for here, there in found:
        below.setdefault(here, set()).add(there)
    return below
