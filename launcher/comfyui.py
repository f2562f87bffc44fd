"""Where a ComfyUI is on this machine, and which Pythons belong to it."""

from __future__ import annotations

import configparser
import json
import locale
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
        return _named(from_home(named))
    candidates = (*_enclosing(pack), *comfy_cli_workspaces(home or from_home("~")))
    return next((candidate for candidate in candidates if is_comfyui(candidate)), None)


def is_comfyui(folder: Path) -> bool:
    # os.path's, for Path's raises where a folder may not be looked into, or its name is too long.
    return all(os.path.exists(folder / marker) for marker in MARKERS)


def from_home(path: str) -> Path:
    """A path that may begin with ~; as it stands where that names nobody, at which Path's own fails."""
    return Path(os.path.expanduser(path))


def host_pythons(
    comfyui: Path, environ: Mapping[str, str] = os.environ, home: Path | None = None, platform: str = sys.platform
) -> Iterator[Path]:
    """The interpreters that an installation usually brings, and the active environment's; each exists."""
    seen = set()
    for python in _likely_pythons(comfyui, environ, home or from_home("~"), platform):
        if python not in seen and os.path.exists(python):
            seen.add(python)
            yield python


def _likely_pythons(comfyui: Path, environ: Mapping[str, str], home: Path, platform: str) -> Iterator[Path]:
    for folder in (comfyui, comfyui.parent):  # `env` is Pinokio's; Stability Matrix and comfy-cli use the other two
        yield from (environment_python(folder / name, platform) for name in ("venv", ".venv", "env"))
    for name in ("python_embeded", "python_embedded"):  # the portable build's own spelling, and its derivatives'
        yield comfyui.parent / name / "python.exe"
        yield comfyui / name / "python.exe"
    for setting in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if active := environ.get(setting):
            yield environment_python(Path(active), platform)
            yield Path(active) / "python.exe"  # conda on Windows
    for folder in (*_desktop_folders(home, platform), *comfy_cli_workspaces(home, platform)):
        yield environment_python(folder / ".venv", platform)
        yield environment_python(folder.parent / ".venv", platform)


def _desktop_folders(home: Path, platform: str) -> Iterator[Path]:
    """Where the desktop app keeps its environment: the folder chosen at its installation, or the proposed one."""
    settings = {"win32": home / "AppData" / "Roaming", "darwin": home / "Library" / "Application Support"}
    file = settings.get(platform, home / ".config") / "ComfyUI" / "config.json"
    try:
        chosen = json.loads(file.read_text(encoding="utf-8")).get("basePath")
    except (OSError, ValueError, AttributeError):
        chosen = None  # no desktop app, or a file of another program that is not ours to report
    if isinstance(chosen, str):
        yield Path(chosen)
    yield home / "Documents" / "ComfyUI"


def environment_python(folder: Path, platform: str = sys.platform) -> Path:
    """The interpreter inside a virtual environment."""
    return folder / "Scripts" / "python.exe" if platform == "win32" else folder / "bin" / "python"


def comfy_cli_workspaces(home: Path, platform: str = sys.platform) -> Iterator[Path]:
    """Where comfy-cli would look without options: its set default, its most recent one, its built-in default."""
    settings = _read_settings(_comfy_cli_settings(home, platform))
    for key in ("default_workspace", "recent_workspace"):
        if folder := settings.get(key):
            yield from_home(folder)
    documents = home if platform.startswith("linux") else home / "Documents"
    yield documents / "comfy" / "ComfyUI"


def _read_settings(file: Path) -> Mapping[str, str]:
    """comfy-cli's settings; none where the file is missing or broken, for another program's is not ours to report."""
    for encoding in ("utf-8", locale.getpreferredencoding(False)):  # comfy-cli writes in the system's own
        settings = configparser.ConfigParser(interpolation=None)
        try:
            settings.read(file, encoding=encoding)
        except UnicodeDecodeError:
            continue
        except configparser.Error:
            break
        return settings["DEFAULT"]
    return {}


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
