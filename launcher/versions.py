"""What is a version by PEP 440, and what pip is asked for where a version of torch was named."""

from __future__ import annotations

import os
import re

from . import LauncherError

VERSION = re.compile(
    r"v?(\d+!)?\d+(\.\d+)*"  # epoch and release
    r"([-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?"
    r"(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?"
    r"([-_.]?dev[-_.]?\d*)?"
    r"(\+[a-z0-9]+([-_.][a-z0-9]+)*)?",
    re.IGNORECASE | re.ASCII,
)


def is_version(word: str) -> bool:
    return VERSION.fullmatch(word) is not None


def torch_requirement(word: str) -> str:
    """What pip is asked for by the word after `--torch`: a version, bounds, a wheel file or a requirement."""
    word = word.strip()
    if is_version(word.removesuffix(".*")):
        return f"torch=={word}"
    if word.startswith(("<", ">", "=", "!", "~=")):
        return f"torch{word}"
    if re.match(r"torch\b", word) or word.endswith(".whl") or "/" in word or os.sep in word:
        return word
    # pip would take any other word as the name of a package, and fetch that.
    raise LauncherError(
        f"--torch is {word!r}, which is neither a version nor a wheel file: give a version such as 2.9.1, or the path "
        "of a torch wheel"
    )
