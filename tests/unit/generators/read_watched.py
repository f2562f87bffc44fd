"""Reads every file of some folders while the interpreter reports what it does, and prints what became of each, as JSON.

python read_watched.py FOLDER ...
"""

import contextlib
import json
import pickle
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import torch

from domain_guidance.generators import GeneratorFileError, open_generator_file

HARMLESS = ("object.__getattr__", "builtins.id", "os.listdir", "os.scandir", "mmap.__new__", "sys._getframe", "gc.")


def main(folders):
    for folder in folders:
        warm_up(folder)
    seen, watching = [], False

    def watch(event, arguments):
        # To open a file for reading is what a reader does; anything else is none of its business.
        reads = event == "open" and arguments[1] in ("r", "rb")
        if watching and not reads and not event.startswith(HARMLESS):
            seen.append(f"{event} {arguments!r:.200}")

    sys.addaudithook(watch)
    results = {}
    for path in (path for folder in folders for path in sorted(folder.iterdir()) if path.suffix in (".pkl", ".pt")):
        watching = True
        try:
            open_generator_file(path)
            said = None
        except GeneratorFileError as error:
            said = str(error)
        finally:
            watching = False
        results[path.name] = {"said": said, "did": seen[:]}
        seen.clear()
    watching = True
    pickle.loads(pickle.dumps(Path))
    watching = False
    print(json.dumps({"control": seen, "files": results, "peak_bytes": peak_bytes()}))


def peak_bytes():
    """Of this process; 0 on Windows, which does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says on Linux begins with the peak of the process that started this one
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def warm_up(folder):
    """Let everything be imported that a first use imports."""
    for name in ("nvidia4.pkl", "rosinality.pt", "without-noise-and-mean.pt"):
        if (folder / name).exists():
            open_generator_file(folder / name)
    for name in ("broken.pt", "broken.pkl"):
        with contextlib.suppress(GeneratorFileError):
            open_generator_file(folder / name)
    torch.ones(2, dtype=torch.float16).float().isfinite().all()
    b"x".decode("cp437")  # of the names in a zip archive


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
