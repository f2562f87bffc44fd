"""A benchmark's ratios as a JSON file, of which `page.py` makes README.md.

Every benchmark has `--json FILE`: `results/<name>.json` for a run on the CPU, `results/<name>.gpu.json` for one on a
GPU.
"""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]


def add_json_option(parser):
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios here, for page.py")


def add_work_option(parser, name):
    """--work: where what takes long is kept, so that the same command goes on from there."""
    parser.add_argument(
        "--work", type=Path, default=PACK / ".environments" / name, help="folder of what is made on the way"
    )


def save(file, benchmark, ratios, *, started, gpu=False, threads=1, command=None):
    """Write the ratios {what in words: number} of a benchmark that began at time.monotonic() `started`; nothing where
    file is None.

    command: what repeats it, where that is not the command that was given.
    """
    if file is None:
        return
    found = {
        "benchmark": benchmark,
        "command": command or given_command(),
        "gpu": gpu,
        "machine": machine(gpu, threads),
        "commit": commit(),
        "minutes": max(0.1, round((time.monotonic() - started) / 60, 1)),
        "ratios": {what: float(f"{value:.4g}") for what, value in ratios.items()},
    }
    write_whole(file, found)


def write_whole(file, found):
    """Write a JSON file so that it is never there in part."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(part, file)


def given_command():
    """The command of this process without --json and its file."""
    words, given = sys.argv[1:], []
    while words:
        word = words.pop(0)
        if word == "--json":
            words.pop(0)
        elif not word.startswith("--json="):
            given.append(word)
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *given])


def machine(gpu, threads):
    """The device and what computes on it, in words; no name of the host."""
    program = f"torch {_version('torch')}"
    if gpu:
        import torch

        return f"{torch.cuda.get_device_name()}; {program}"
    return f"{_processor()}, {os.cpu_count()} cores, {threads} {'thread' if threads == 1 else 'threads'}; {program}"


def commit():
    """The commit that was run, with a plus where files were changed since; empty outside of a git checkout."""
    try:
        found = _git("rev-parse", "--short=12", "HEAD")
        return found + "+" * bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words):
    return subprocess.run(["git", *words], cwd=PACK, capture_output=True, text=True, check=True).stdout.strip()


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
