"""What is known of images that were read before, so that an unchanged folder is not read again.

One file of JSON lines for each rank, only ever appended to. A killed process leaves at most one torn line, which the
next reader passes over. The lines are hints: losing them costs time, never correctness.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .buckets import Size

# Raised when more files can be read than before: what an older reader gave up on is then looked at again.
READER = 2


@dataclass(frozen=True)
class Usable:
    """An image that can be used. key: the hash of its content. size: of the upright picture. remark: the source's."""

    key: str
    size: Size
    remark: str = ""


@dataclass(frozen=True)
class Unusable:
    """An image that cannot be used.

    try_again: the fault may lie outside the file, so an unchanged stamp proves nothing.
    """

    reason: str
    try_again: bool


Fact = Usable | Unusable


class ImageFacts:
    """The facts in a folder, by stamp and by content key."""

    def __init__(self, folder: Path, rank: int = 0):
        self._path = folder / f"images-{rank}.jsonl"
        self._by_stamp: dict[str, Fact] = {}
        self._by_key: dict[str, Usable] = {}
        for path in sorted(folder.glob("images-*.jsonl")):
            for stamp, fact in _read_facts(path).items():
                # Two ranks may have seen the same file at different times: what one could use, the next need not give
                # up.
                if isinstance(fact, Usable) or stamp not in self._by_stamp:
                    self._remember(stamp, fact)

    def of_stamp(self, stamp: str) -> Fact | None:
        return self._by_stamp.get(stamp)

    def of_key(self, key: str) -> Usable | None:
        return self._by_key.get(key)

    def add(self, stamp: str, fact: Fact) -> None:
        """Remember, and append a line if this is news. Raises OSError."""
        if self._by_stamp.get(stamp) == fact:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "ab") as file:
            # The newline in front ends the torn line of a killed process; of empty lines the reader makes nothing.
            file.write(f"\n{_line(stamp, fact)}\n".encode())
        self._remember(stamp, fact)

    def _remember(self, stamp: str, fact: Fact) -> None:
        self._by_stamp[stamp] = fact
        if isinstance(fact, Usable):
            self._by_key[fact.key] = fact


def _line(stamp: str, fact: Fact) -> str:
    if isinstance(fact, Usable):
        return json.dumps({"stamp": stamp, "key": fact.key, "size": fact.size, "remark": fact.remark})
    return json.dumps({"stamp": stamp, "reason": fact.reason, "try_again": fact.try_again, "reader": READER})


def _read_facts(path: Path) -> dict[str, Fact]:
    facts = {}
    for line in path.read_bytes().split(b"\n"):
        try:
            values = json.loads(line)
            if "key" in values:
                size, remark = Size(*map(int, values["size"])), str(values.get("remark", ""))
                facts[str(values["stamp"])] = Usable(str(values["key"]), size, remark)
            elif values["reader"] == READER:  # a line without it is an older reader's
                facts[str(values["stamp"])] = Unusable(str(values["reason"]), bool(values["try_again"]))
        except (ValueError, KeyError, TypeError):  # torn by a kill, or damaged: the image is looked at again
            continue
    return facts
