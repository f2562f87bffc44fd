"""Where a Chromium for the browser tests is on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from . import LauncherError
from .comfyui import from_home

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The browser to use: CHROMIUM, else the first of the usual names on PATH.

    Raises `LauncherError` if CHROMIUM is set to something else: a wrong setting must not silently mean another browser.
    """
    if named := environ.get("CHROMIUM"):
        return _named(from_home(named))
    found = (shutil.which(name, path=environ.get("PATH")) for name in NAMES)
    return next((Path(path) for path in found if path), None)


def _named(program: Path) -> Path:
    if os.path.isfile(program):
        return program.absolute()
    raise LauncherError(
        f"CHROMIUM is {program}, which is not a program: set it to the path of Chromium or Chrome, or unset it"
    )
