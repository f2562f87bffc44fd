"""The log of a run: one JSON object a line, which the curves are drawn from and any tool can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .events import Evaluated, Event, Finished, Prepared, Saved, Step


class RunLog:
    """Appends events to the file; `cut` first, so that a resumed run's log is that of the uninterrupted one."""

    def __init__(self, path: Path):
        self._path = path

    def cut(self, step: int) -> None:
        """Drop what was logged after a step: those steps will be made again."""
        kept = [line for line in read_log(self._path) if line["step"] <= step] if step else []
        part = self._path.with_name(f"{self._path.name}.part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(part, self._path)

    def add(self, event: Event, seconds: float) -> None:
        """Append a line for the event. seconds: since this process began the run."""
        if isinstance(event, Prepared | Step | Evaluated | Saved | Finished):
            line = {"event": type(event).__name__.lower(), **_plain(asdict(event)), "seconds": round(seconds, 3)}
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log; a line torn by a kill is passed over."""
    if not path.exists():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                yield line


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.name if isinstance(value, Path) else value for name, value in values.items()}
