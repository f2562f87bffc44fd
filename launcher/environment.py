"""Which Python runs the pack: one that already has torch, untouched; what it lacks goes into an environment of ours.

Nothing is ever installed into a Python that was found. Where one has torch and lacks something smaller, our environment
is laid over it: a `.pth` file shows it the packages of that Python, and pip adds what is missing beside them.
Constraints hold every package of that Python at its version.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import LauncherError
from .aloud import run_aloud, say
from .comfyui import environment_python
from .lock import alone
from .versions import is_version, torch_requirement

# import name -> what pip is asked for. The lower bounds are pyproject.toml's; a test compares the two.
LIBRARY = {
    "torch": "torch",
    "diffusers": "diffusers>=0.32.0",
    "safetensors": "safetensors>=0.4.2",
    "einops": "einops>=0.7.0",
}
DEMO = LIBRARY | {"sklearn": "scikit-learn>=1.3", "PIL": "Pillow>=10.1"}
TEST = DEMO | {"pytest": "pytest>=8.0", "accelerate": "accelerate>=0.31", "peft": "peft>=0.17"}
# What a formatter writes and a type checker finds belongs to a version, so these are bounded on both sides.
LINT = {"ruff": "ruff>=0.17.6,<0.18", "pyright": "pyright==1.1.414"}
# Drives a Chromium that is there already and downloads none. In no extra: only `run.py test` asks for it.
BROWSER = {"playwright": "playwright>=1.45"}
# Without these ComfyUI's main.py does not start.
COMFYUI = ("torch", "torchsde", "torchvision", "transformers", "aiohttp", "av")
# Lies in an environment while pip works in it, and stays if that is interrupted.
UNFINISHED = "unfinished"

PROBE = """
import importlib.metadata, importlib.util, json, os, re, sys
asked = json.loads(sys.argv[1])

def lacks(name):
    spec = importlib.util.find_spec(name)
    return spec is None or spec.origin is None  # a folder without a module: what is left of an interrupted removal

missing = [name for name in asked if lacks(name)]

def sees(device):
    return device is not None and device.is_available()

accelerator = cuda = False
if "torch" in asked and "torch" not in missing:
    try:
        import torch
        cuda = torch.cuda.is_available()
        # Old builds have neither of the two.
        accelerator = cuda or sees(getattr(torch.backends, "mps", None)) or sees(getattr(torch, "xpu", None))
    except Exception:  # whatever a broken torch raises, it cannot be used, and the Python is still one
        missing.append("torch")

def named(found):
    try:
        return found.name
    except UnicodeDecodeError:  # an old package, described in Latin-1
        return None

installed = {}
for name in filter(None, map(named, importlib.metadata.distributions())):
    try:
        # By name, for that is the one that is imported; and as pip spells it, for two spellings would be two pins.
        installed[re.sub("[-_.]+", "-", name).lower()] = importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, UnicodeDecodeError):
        pass  # not found by its name: a folder ~ame, which pip leaves of a removal that failed
print(sys.argv[2] + json.dumps({
    "version": sys.version_info[:2], "missing": missing, "accelerator": accelerator, "cuda": cuda,
    "can_make_environments": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
    "folders": [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages") and os.path.isdir(p)],
    "prefix": sys.prefix,
    "installed": [f"{name}=={version}" for name, version in sorted(installed.items()) if version],
}), flush=True)
"""
ANSWER = "domain-guidance-probe:"  # what the line of the answer begins with, among what torch and others print


@dataclass(frozen=True)
class Python:
    """One interpreter and what it can import of what was asked for."""

    path: Path
    version: tuple[int, int]
    missing: tuple[str, ...] = ()
    accelerator: bool = False
    cuda: bool = False
    can_make_environments: bool = True
    folders: tuple[str, ...] = field(default=(), repr=False)
    prefix: str = field(default="", repr=False)
    installed: tuple[str, ...] = field(default=(), repr=False)

    def has(self, modules: Iterable[str]) -> bool:
        return not set(modules) & set(self.missing)


def probe(path: Path, modules: Iterable[str]) -> Python | None:
    """Ask an interpreter what it can import, in its own process. None if it does not run or is older than 3.10.

    torch is imported only if it is among `modules`: that takes seconds, and a broken one may end the process.
    """
    facts = _answer([str(path), "-c", PROBE, json.dumps(sorted(set(modules))), ANSWER], path.parent)
    if facts is None:
        return None
    major, minor = facts["version"]
    if (major, minor) < (3, 10):
        return None
    return Python(
        path,
        version=(major, minor),
        missing=tuple(facts["missing"]),
        accelerator=facts["accelerator"],
        cuda=facts["cuda"],
        can_make_environments=facts["can_make_environments"],
        folders=tuple(facts["folders"]),
        prefix=facts["prefix"],
        installed=tuple(facts["installed"]),
    )


def _answer(command: list[str], folder: Path) -> dict | None:
    try:
        asked = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder, check=False)
    except OSError:
        return None
    # Not the exit code: a torch may crash on its way out. The answer is ASCII, what others say is in any encoding.
    answers = [line for line in asked.stdout.decode("ascii", "replace").splitlines() if line.startswith(ANSWER)]
    return json.loads(answers[-1].removeprefix(ANSWER)) if answers else None


def first_with(modules: Iterable[str], candidates: Iterable[Path], asked: Iterable[str]) -> Python | None:
    """The first candidate that can import `modules`; it has been asked for `asked` as well."""
    found = (probe(path, {*modules, *asked}) for path in candidates)
    return next((python for python in found if python and python.has(modules)), None)


def ready(
    base: Python | None,
    needed: dict[str, str],
    home: Path,
    torch: str | None = None,
    agreed: Callable[[], bool] = lambda: True,
) -> Python:
    """A Python that has all that is needed: `base` itself, or an environment under `home` laid over it, or a full one.

    `torch` says which one, where torch has to be installed at all: a version, a wheel file or a requirement. `agreed`
    is asked before it is.
    """
    if base and base.has(needed):
        return base
    folder = home / (_layer_name(base) if base else "own")
    if complete := _complete(folder, needed):
        return complete  # without the lock, which a folder that is only read does not take
    with alone(folder):
        # Asked again: another run may have made it meanwhile.
        return _complete(folder, needed) or _made(base, needed, folder, torch, agreed)


def _complete(folder: Path, needed: dict[str, str]) -> Python | None:
    """The environment in `folder`, if it has all that is needed."""
    python = environment_python(folder)
    if not python.exists() or (folder / UNFINISHED).exists():
        return None
    found = probe(python, needed)
    return found if found and found.has(needed) else None


def _made(
    base: Python | None, needed: dict[str, str], folder: Path, torch: str | None, agreed: Callable[[], bool]
) -> Python:
    """The environment in `folder`, made, or finished if it is there."""
    python = environment_python(folder)
    found = probe(python, {"torch", *needed}) if python.exists() else None
    if found and not found.has(["torch"]):
        found = None  # its making was interrupted: make it anew, or pip would fetch a second torch
    wanted = needed | ({"torch": torch_requirement(torch)} if torch and not base else {})
    lacking = set((base or _nothing(wanted)).missing)
    if found:
        # A package of which only some files were copied can look complete, so pip goes through all but torch again.
        lacking = lacking - {"torch"} if (folder / UNFINISHED).exists() else set(found.missing)
    absent = [requirement for name, requirement in wanted.items() if name in lacking]
    _announce(absent, folder, base)
    if wanted.get("torch") in absent and not agreed():
        raise LauncherError("nothing was installed")
    if not found:
        _make(folder, base)
    _install(python, absent, folder, base)
    return _checked(python, needed)


def _layer_name(base: Python) -> str:
    return f"over-{hashlib.sha256(os.fsencode(base.path)).hexdigest()[:8]}"


def _nothing(wanted: dict[str, str]) -> Python:
    return Python(Path(sys.executable), sys.version_info[:2], tuple(wanted))


def _announce(absent: list[str], folder: Path, base: Python | None) -> None:
    say(f"Installing into {folder} (delete it to start anew): {', '.join(sorted(absent))}")
    if base:
        say(f"  laid over {base.path}, whose torch is used and which stays as it is; at most about 90 MB to download")
    elif any(name.startswith("torch") or name.endswith(".whl") for name in absent):
        say(
            "  torch is about 200 MB to download on Windows and macOS; on Linux the usual build brings NVIDIA's "
            "libraries, more than 2 GB"
        )
        say("  (--torch names another build, for example a wheel file); the rest is about 100 MB")


def _make(folder: Path, base: Python | None) -> None:
    maker = base.path if base and base.can_make_environments else Path(sys.executable)
    own = probe(maker, ())
    if not own or not own.can_make_environments:
        raise LauncherError(
            f"{maker} cannot make an environment (it has no venv or ensurepip module): "
            "run this with a Python that has them (on Debian and Ubuntu: install python3-venv)"
        )
    if base and own.version != base.version:
        wanted = ".".join(map(str, base.version))
        raise LauncherError(
            f"{base.path} has torch but cannot make an environment, and {maker} is another version: "
            f"run this with a Python {wanted} from python.org"
        )
    if run_aloud([str(maker), "-m", "venv", "--clear", str(folder)], "making the environment", quiet=True):
        raise LauncherError(f"{maker} could not make an environment; its message is above")
    if base:
        _show_packages(environment_python(folder), base)


def _show_packages(python: Path, base: Python) -> None:
    """Make the packages of `base` importable in our environment, after its own."""
    own = probe(python, ())
    if own is None:
        raise LauncherError(f"{python}, which was just made, does not run: delete its folder and run this again")
    # addsitedir and not the bare path: the base's packages may themselves be reached through `.pth` files.
    # !a, for ASCII only: Python before 3.13 reads a .pth in the system's own encoding, on Windows the code page.
    lines = [f"import site; site.addsitedir({folder!a})" for folder in base.folders]
    # Not simply the first: PYTHONPATH may put another Python's folder before it, and that stays as it is.
    place = next(folder for folder in own.folders if Path(folder).is_relative_to(own.prefix))
    Path(place, "packages_of_the_base.pth").write_text("\n".join(lines) + "\n", encoding="ascii")


def _install(python: Path, requirements: list[str], folder: Path, base: Python | None) -> None:
    constraints = folder / "constraints.txt"
    # Distributions give their own packages versions such as 1.1build1, for which pip would refuse the whole file.
    pins = [pin for pin in (base.installed if base else ()) if is_version(pin.partition("==")[2])]
    constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
    # --no-user: pip's settings may say `user`, which it refuses in an environment.
    command = [str(python), "-m", "pip", "install", "--no-user", "--constraint", str(constraints), *requirements]
    (folder / UNFINISHED).touch()
    if run_aloud(command, "installing", quiet=True):
        raise LauncherError("pip could not install what is missing; its message is above")
    (folder / UNFINISHED).unlink()


def _checked(python: Path, needed: dict[str, str]) -> Python:
    made = probe(python, needed)
    if made and made.has(needed):
        return made
    lacking = ", ".join(made.missing) if made else "everything"
    raise LauncherError(
        f"{python} was made but cannot import {lacking}: delete {python.parent.parent} and run this again"
    )
