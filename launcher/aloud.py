"""Long commands that are never silent: what they say is passed on, and where they say nothing, how long they take."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# Seconds after which a line says that the work goes on. Two pieces of work in a row may each be silent for as long, and
# together stay below ten.
SILENCE = 4.5


def say(line: str) -> None:
    print(line, flush=True)


class Clock:
    """Says how long something has taken, whenever nothing else was said for `silence` seconds."""

    def __init__(self, doing: str, silence: float = SILENCE, say: Callable[[str], None] = say):
        self._doing, self._silence, self._say = doing, silence, say
        self._begun = self._spoken = time.monotonic()

    def pass_on(self, line: str) -> None:
        self._say(line)
        self._spoken = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._spoken >= self._silence:
            self.pass_on(f"  {self._doing}, {now - self._begun:.0f} s so far")


def run_aloud(
    command: Sequence[str],
    doing: str,
    *,
    quiet: bool = False,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    silence: float = SILENCE,
) -> int:
    """Run a command and return its exit code. quiet: its own words are shown only if it fails."""
    clock, kept = Clock(doing, silence), []
    lines: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(
        command,
        cwd=cwd,
        # Python on Windows would write in the code page, and fail at what that lacks.
        env={**(os.environ if environ is None else environ), "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        threading.Thread(target=_collect, args=(process.stdout, lines), daemon=True).start()
        while (line := _next(lines, clock, silence)) is not None:
            if quiet:
                kept.append(line)
            else:
                clock.pass_on(line)
            clock.tick()
        code = process.wait()
    if code and kept:
        say("\n".join(kept))
    return code


def _collect(stream, lines: queue.Queue[str | None]) -> None:
    with suppress(ValueError):  # closed by Ctrl+C, after which nobody reads
        for line in stream:
            lines.put(line.rstrip())
    lines.put(None)


def _next(lines: queue.Queue[str | None], clock: Clock, silence: float) -> str | None:
    while True:
        try:
            return lines.get(timeout=silence)
        except queue.Empty:
            clock.tick()
