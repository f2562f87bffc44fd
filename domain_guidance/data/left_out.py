"""What is not used of the images that were given: counted, and named with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NAMED = 20  # of one reason; a thousand captions beside a thousand images are no news


@dataclass(frozen=True)
class Skipped:
    """Something that is not used as an image. reason: a clause about "it"."""

    name: str
    reason: str


@dataclass(frozen=True)
class Remark:
    """What a user should know of an image that is used. text: holds of all images that share it. extent: how much."""

    name: str
    text: str
    extent: str = ""


def because(skipped: Iterable[Skipped]) -> str:
    """ "'a' because R; 'b' and 'c', each because S", without a full stop."""
    groups = _grouped((one.reason, f"'{one.name}'") for one in skipped)
    return "; ".join(
        f"{listed(names)}{', each' if len(names) > 1 else ''} because {reason}" for reason, names in groups.items()
    )


def remark_sentences(remarks: Iterable[Remark]) -> list[str]:
    """One for every text, with the names that share it."""
    groups = _grouped((one.text, f"'{one.name}'{one.extent and f' ({one.extent})'}") for one in remarks)
    return [f"{text}: {listed(names)}." for text, names in groups.items()]


def listed(names: Sequence[str]) -> str:
    """ "a, b and c", and of very many the first ones and a number."""
    rest = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    *first, last = [*names[:NAMED], *rest]
    return f"{', '.join(first)} and {last}" if first else last


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The values of each key, in their order."""
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
