"""Run every benchmark one after another and write the page anew: the command that fills a column of README.md.

    python benchmarks/every.py [--gpu] [--only NAME ...] [--anew]

Run it with the Python of a ComfyUI, which `guidance.py` measures (COMFYUI_PATH names one that is not found). A result
that lies in `results` already is kept, so that an interrupted run goes on; `--anew` measures it again. A benchmark that
fails is named at the end and stops no other.
"""

import argparse
import os
import subprocess
import sys

from page import BENCHMARKS, FOLDER, PACK, RESULTS
from page import main as write_page

sys.path.append(str(PACK))

from launcher.comfyui import find_comfyui

# What has no device: what pip would do, how good pictures are, whichever processor draws them, and reading a file.
WITHOUT_DEVICE = ("resolver", "side_network", "few_steps", "another_base", "loading", "true_sizes")
IN_COMFYUI = ("guidance",)


def main():
    options = _options()
    failed = [name for name in options.only if not _measured(name, options)]
    write_page()
    print(f"\nwritten: {FOLDER / 'README.md'}")
    if failed:
        print(f"without a result: {', '.join(failed)}")
    return 1 if failed else 0


def _options():
    names = [name for name in BENCHMARKS if name not in WITHOUT_DEVICE]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="run on the GPU instead of the CPU")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--anew", action="store_true", help="measure again what has a result already")
    return parser.parse_args()


def _measured(name, options):
    """Whether there is a result of this benchmark now."""
    file = RESULTS / f"{name}.gpu.json" if options.gpu else RESULTS / f"{name}.json"
    if file.exists() and not options.anew:
        print(f"{name}: measured already", flush=True)
        return True
    print(f"{name}: python benchmarks/{name}.py{' --gpu' if options.gpu else ''}", flush=True)
    folder = find_comfyui(PACK) if name in IN_COMFYUI else FOLDER
    if folder is None:
        print("  no ComfyUI was found: set COMFYUI_PATH to one")
        return False
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--json", str(file), *["--gpu"] * options.gpu]
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return subprocess.run(command, cwd=folder, env=os.environ | threads, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
