"""What installing the pack would change in a Python: `python benchmarks/resolver.py [PYTHON]`, with ComfyUI's own
PYTHON.

pip resolves requirements.txt without installing anything. New packages are listed; a package whose version would move
is a failure (exit code 1), because it belongs to ComfyUI or to another pack.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from result_file import add_json_option, save

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
INSTALLED = (
    "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in "
    "m.distributions() if d.name]))"
)


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def installed(python: str) -> dict[str, str]:
    answer = subprocess.run([python, "-c", INSTALLED], capture_output=True, text=True, check=True)
    # Reversed: of two versions of one name the first on the path is the one that is imported.
    return {normal(name): version for name, version in reversed(json.loads(answer.stdout))}


def resolved(python: str) -> dict[str, str]:
    """Names and versions that pip would install."""
    command = [python, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", "-r", str(REQUIREMENTS)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    packages = (item["metadata"] for item in json.loads(answer.stdout)["install"])
    return {normal(package["name"]): package["version"] for package in packages}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", nargs="?", default=sys.executable, help="the Python to look at (default: this one)")
    add_json_option(parser)
    options, started = parser.parse_args(), time.monotonic()
    python = options.python
    before, after = installed(python), resolved(python)
    moved = {name: f"{before[name]} -> {version}" for name, version in after.items() if name in before}
    print(f"{python}: {len(before)} packages installed")
    print(
        "new:  ",
        ", ".join(f"{name} {version}" for name, version in sorted(after.items()) if name not in moved) or "none",
    )
    print("moved:", ", ".join(f"{name} {change}" for name, change in sorted(moved.items())) or "none")
    ratios = {"new packages": len(after) - len(moved), "moved packages": len(moved)}
    save(options.json, "resolver", ratios, started=started, command="python benchmarks/resolver.py PYTHON")
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
