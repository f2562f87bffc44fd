"""Where a ComfyUI is on this machine, and which Pythons belong to it."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import LauncherError

MARKERS = ("main.py", "nodes.py", "comfy", "comfy_extras")


def find_comfyui(pack: Path, environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Path | None:
    """The ComfyUI to use: COMFYUI_PATH, else the one that encloses the pack, else comfy-cli's default workspace.

    Raises `LauncherError` if COMFYUI_PATH is set to something else: a wrong setting must not silently mean another
    installation.
    """
    if named := environ.get("COMFYUI_PATH"):
        return _named(Path(named).expanduser())
    candidates = (*_enclosing(pack), *comfy_cli_workspaces(home or Path.home()))
    return next((candidate for candidate in candidates if is_comfyui(candidate)), None)


def is_comfyui(folder: Path) -> bool:
    return all((folder / marker).exists() for marker in MARKERS)


def host_pythons(comfyui: Path) -> Iterator[Path]:
    """The interpreters an installation usually brings: its own virtual environment, or the portable build's Python."""
    for folder in (comfyui / "venv", comfyui / ".venv", comfyui.parent / "venv", comfyui.parent / ".venv"):
        if (python := environment_python(folder)).exists():
            yield python
    portable = comfyui.parent / "python_embeded" / "python.exe"  # spelled so by the portable build
    if portable.exists():
        yield portable


def environment_python(folder: Path, platform: str = sys.platform) -> Path:
    """The interpreter inside a virtual environment."""
    return folder / "Scripts" / "python.exe" if platform == "win32" else folder / "bin" / "python"


def comfy_cli_workspaces(home: Path, platform: str = sys.platform) -> Iterator[Path]:
    """Where comfy-cli would look without options: its set default, its most recent one, its built-in default."""
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(_comfy_cli_settings(home, platform), encoding="utf-8")
    except configparser.Error:
        settings.clear()  # a broken file of another program is not ours to report
    for key in ("default_workspace", "recent_workspace"):
        if folder := settings["DEFAULT"].get(key):
            yield Path(folder).expanduser()
    documents = home if platform.startswith("linux") else home / "Documents"
    yield documents / "comfy" / "ComfyUI"


def _named(folder: Path) -> Path:
    if is_comfyui(folder):
        return folder.absolute()
    raise LauncherError(
        f"COMFYUI_PATH is {folder}, which is not a ComfyUI folder: "
        "set it to the folder that holds ComfyUI's main.py, or unset it"
    )


def _enclosing(pack: Path) -> Iterator[Path]:
    # Both spellings: a pack linked into custom_nodes is enclosed by its link, not by its target.
    for path in (pack.absolute(), pack.resolve()):
        if path.parent.name == "custom_nodes":
            yield path.parent.parent


def _comfy_cli_settings(home: Path, platform: str) -> Path:
    folder = {"win32": home / "AppData" / "Local", "darwin": home / "Library" / "Application Support"}
    return folder.get(platform, home / ".config") / "comfy-cli" / "config.ini"
