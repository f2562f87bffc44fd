"""Names of files that users choose."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

LONGEST = 200  # bytes, which leaves room for endings; most file systems take 255
# What Windows keeps for itself, of https://learn.microsoft.com/windows/win32/fileio/naming-a-file. The superscripts are
# digits to it.
CHARACTERS = '<>:"|?*'
DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    device + digit for device in ("COM", "LPT") for digit in "123456789¹²³"
}


def is_plain(name: str) -> bool:
    """Whether it names a file by itself: no folder, not hidden, no control character, short enough for a disk."""
    return not _not_plain(name)


def refusal(name: str) -> str:
    """Why no new file may have this name, in one sentence for the user; empty where one may.

    What Windows cannot have is refused on every system, because workflows are shared between them. Files that have such
    a name already stay in use: for them, `is_plain` is enough. An ending follows, so a dot or a space may be the last.
    """
    problem = _not_plain(name) or _not_text(name) or _not_on_windows(name)
    # Escaped, control characters can be seen.
    shown = f"'{name}'" if name.isprintable() else repr(name)
    return f"{shown} cannot be the name of a file{problem}." if problem else ""


def versions(name: str) -> Iterator[str]:
    """name, name-2, name-3 and so on, of which the first free one is taken."""
    return itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))


def _not_plain(name: str) -> str:
    """The rest of the sentence; empty for a plain name."""
    size = len(name.encode(errors="replace"))
    if size > LONGEST:
        return f", because it takes {size} bytes: give a name of at most {LONGEST}"
    if control := next((character for character in name if character < " "), ""):
        return f", because it contains the control character {control!r}: leave it out"
    if not name or name.startswith(".") or os.path.basename(name.replace("\\", "/")) != name:
        return ": give a short plain name without folders"
    return ""


def _not_text(name: str) -> str:
    """The rest of the sentence; empty for a name that UTF-8 can hold."""
    if lone := next((character for character in name if "\ud800" <= character <= "\udfff"), ""):
        return f", because it contains {lone!r}, which is half a character: leave it out"
    return ""


def _not_on_windows(name: str) -> str:
    """The rest of the sentence; empty for a name that Windows can have."""
    if character := next((character for character in name if character in CHARACTERS), ""):
        return f", because Windows does not allow {character!r} in names: leave that character out"
    device = name.partition(".")[0].rstrip(" ")
    if device.upper() in DEVICES:
        return f", because Windows keeps '{device}' for a device: choose another name"
    return ""
