#!/usr/bin/env python3
"""The two commands: `python run.py demo` draws the demo picture, `python run.py test` runs the tests.

Needs Python 3.10 or newer and nothing else. A Python that already has torch is used as it is (the one this runs under,
the one of an enclosing or found ComfyUI); what it lacks goes into an environment inside this folder, never into that
Python.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

PACK = Path(__file__).absolute().parent
ENVIRONMENTS = PACK / ".environments"
# What the demo's picture can be written as.
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
FIRST_LOOK = PACK / "tests" / "workflows" / "01-first-look.api.json"


def main() -> int:
    if sys.version_info < (3, 10):
        print(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}.")
        return 2
    from launcher import LauncherError

    if isinstance(sys.stdout, io.TextIOWrapper):  # a file on Windows has a code page, which lacks most characters
        sys.stdout.reconfigure(errors="replace")
    options = parser().parse_args()
    try:
        return options.command(options)
    except LauncherError as problem:
        print(f"Stopped: {problem}.")
        return 1
    except KeyboardInterrupt:
        print("Stopped by Ctrl+C: what is installed by now stays, and the same command goes on from there.")
        return 130  # what shells give a command that was interrupted


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True)
    for name, command, text in (
        ("demo", demo, "draw the demo picture and print its numbers"),
        ("test", test, "run the linter and the tests"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument(
            "--torch", metavar="SPEC", help="which torch is installed, where none is found: a version or a wheel file"
        )
        sub.add_argument("--install", action="store_true", help="install what is missing without asking")
        if name == "demo":
            sub.add_argument(
                "--out", type=Path, default=Path("domain-guidance-demo.png"), help="where the picture is written"
            )
    return top


def demo(options: argparse.Namespace) -> int:
    from launcher import environment
    from launcher.aloud import run_aloud

    picture = place_for(options.out)
    comfyui, usable, python = prepare(environment.DEMO, options)
    code = run_aloud([str(python.path), "-m", "domain_guidance.demo", "--out", str(picture)], "drawing", cwd=PACK)
    if code == 0 and comfyui and usable:
        first_look(python, comfyui, picture)
    return code


def place_for(out: Path) -> Path:
    """Where the picture goes, before minutes of drawing show that it cannot: its folder is made."""
    from launcher import LauncherError

    picture = out.absolute()
    if picture.is_dir() or picture.suffix.lower() not in PICTURES:
        raise LauncherError(f"--out is {out}: name a file that ends in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LauncherError(f"--out is {out}, whose folder cannot be made ({problem.strerror}): name another") from None
    return picture


def first_look(python, comfyui: Path, picture: Path) -> None:
    """Run the first template through the real server; its pictures go into a folder beside the demo's."""
    from launcher.server import run_graph

    print(f"The first template, in {comfyui}:", flush=True)
    graph = json.loads(FIRST_LOOK.read_text(encoding="utf-8"))
    folder = picture.with_name(f"{picture.stem}-comfyui")
    folder.mkdir(exist_ok=True)
    pictures = run_graph(graph, python.path, comfyui, PACK, cpu=not python.accelerator)
    for number, made in enumerate(pictures, start=1):
        title = graph[made.node]["_meta"]["title"].lower().replace(" ", "-")
        (folder / f"{number:02}-{title}.png").write_bytes(made.data)
    print(f"  {len(pictures)} pictures, with domain guidance and without, are in {folder}")


def test(options: argparse.Namespace) -> int:
    from launcher import LauncherError, environment
    from launcher.chromium import find_chromium
    from launcher.pytest_run import Part, beside, run_part

    chromium = find_chromium()
    if not (PACK / "tests" / "unit").is_dir():
        raise LauncherError("the registry's package has no tests: clone the repository to run them")
    comfyui, usable, python = prepare(environment.TEST, options)
    print(
        f"Chromium: {chromium or 'none was found, so the browser tests are left out (CHROMIUM names one)'}", flush=True
    )
    settings = PACK / "tests" / "pytest.ini"
    parts: list = lint_checks(python)
    host = comfyui if usable else None
    driver = browser_python(python) if host and chromium else None

    def unit_and_browser(output):
        unit = run_part("unit tests", python.path, PACK / "tests" / "unit", cwd=PACK, settings=settings, output=output)
        if host is None or not chromium:
            return [unit]
        return [unit, browser_tests(driver, host, settings, output)]

    # Two lanes of about the same length; both draw small pictures, for which one core each is enough.
    with beside(unit_and_browser, aloud=host is None) as others:
        if host:
            parts += hosted_tests(python, host, settings)
        elif comfyui:
            parts.append(Part("host tests"))
    parts += others.result()
    print("", *parts, sep="\n", flush=True)
    return 0 if all(part.good for part in parts) else 1


def hosted_tests(python, comfyui: Path, settings: Path) -> list:
    """The parts inside a ComfyUI, in its root: the pack's `nodes` folder must not shadow the host's `nodes.py`."""
    from launcher.pytest_run import run_part

    host = run_part("host tests", python.path, PACK / "tests" / "host", cwd=comfyui, settings=settings)
    return [host, gpu_tests(python, comfyui, settings)]


def lint_checks(python) -> list:
    """The first part; a machine that cannot get the linters says so and goes on to the tests."""
    from launcher import LauncherError, environment
    from launcher.lint import Check, lint

    try:
        ready = environment.ready(environment.probe(python.path, environment.LINT), environment.LINT, ENVIRONMENTS)
    except LauncherError as problem:
        return [Check("lint", reason=str(problem))]
    return lint(ready.path, PACK)


def gpu_tests(python, comfyui: Path, settings: Path):
    """The part for a GPU; where there is none, the closing lines say that it was left out."""
    from launcher.pytest_run import LeftOut, run_part

    if not python.cuda:
        return LeftOut("GPU tests", "this Python's torch sees no CUDA device")
    return run_part("GPU tests", python.path, PACK / "tests" / "gpu", cwd=comfyui, settings=settings)


def browser_python(python) -> Path | None:
    """The Python that drives the browser; a machine that cannot get it says so and keeps the other parts."""
    from launcher import LauncherError, environment

    needed = environment.TEST | environment.BROWSER
    try:
        return environment.ready(environment.probe(python.path, needed), needed, ENVIRONMENTS).path
    except LauncherError as problem:
        print(f"The browser tests cannot run: {problem}.", flush=True)
        return None


def browser_tests(driver: Path | None, comfyui: Path, settings: Path, output):
    """The part that needs a browser, driven from this Python; without one it counts as failed."""
    from launcher.pytest_run import Part, run_part

    name = "browser tests"
    if driver is None:
        return Part(name)
    return run_part(name, driver, PACK / "tests" / "browser", cwd=comfyui, settings=settings, output=output)


def prepare(needed: dict[str, str], options: argparse.Namespace):
    """The ComfyUI that was found or None, whether a Python here can run it, and the Python to use."""
    from launcher import environment
    from launcher.comfyui import find_comfyui, host_pythons

    comfyui = find_comfyui(PACK)
    candidates = (Path(sys.executable), *(host_pythons(comfyui) if comfyui else ()))
    base = environment.first_with(environment.COMFYUI, candidates, needed) if comfyui else None
    usable = base is not None
    print(f"ComfyUI: {about(comfyui, usable)}", flush=True)
    base = base or environment.first_with(["torch"], candidates, needed)
    python = environment.ready(base, needed, ENVIRONMENTS, options.torch, lambda: agreed(comfyui, options))
    print(f"Python: {python.path}", flush=True)
    return comfyui, usable, python


def agreed(comfyui: Path | None, options: argparse.Namespace) -> bool:
    """Whether torch may be downloaded, asked where somebody can answer.

    Where nobody can, a found ComfyUI, whose torch lies somewhere, forbids it.
    """
    if options.install or options.torch:
        return True
    if comfyui:
        print(f"  {comfyui} has a torch already: run this with the Python that starts it, and nothing is downloaded.")
    if not sys.stdin.isatty():
        if comfyui:
            print("  To download another one, run this again with --install.", flush=True)
        return comfyui is None
    try:
        return input("  Download it now? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl+D
        return False


def about(comfyui: Path | None, usable: bool) -> str:
    if not comfyui:
        return "none was found, so its part is left out (COMFYUI_PATH names one)"
    return (
        str(comfyui)
        if usable
        else (
            f"{comfyui}, but no Python that can run it was found, so its part is left out: "
            "run this with the Python that runs it"
        )
    )


if __name__ == "__main__":
    sys.exit(main())
