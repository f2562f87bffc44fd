"""One part of the test run: pytest in its own process, and how many tests it really executed."""

from __future__ import annotations

import os
import subprocess
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Part:
    """What a part of the test run came to. `exit_code` is pytest's; None if pytest was not started."""

    name: str
    exit_code: int | None = None
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def good(self) -> bool:
        """A part that executed nothing has shown nothing: that is a failure too."""
        return self.exit_code == 0 and self.failed == 0 and self.passed > 0

    def __str__(self) -> str:
        if not self.passed + self.failed:
            return f"{self.name}: no test was executed"
        ending = "" if self.good or self.failed else f", but pytest ended with {self.exit_code}"
        return f"{self.name}: {self.passed} passed, {self.failed} failed, {self.skipped} skipped{ending}"


@dataclass(frozen=True)
class LeftOut:
    """A part that this machine cannot run, which is no failure."""

    name: str
    reason: str
    good: bool = True

    def __str__(self) -> str:
        return f"{self.name}: left out, because {self.reason}"


def run_part(name: str, python: Path, tests: Path, *, cwd: Path, settings: Path, output: IO | None = None) -> Part:
    """Run the tests of a folder with the working directory `cwd` and the pytest settings file `settings`.

    `output` takes what pytest says; without it the terminal does.
    """
    environ = os.environ | {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")
    }  # small tensors: threads only cost
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [str(python), "-m", "pytest", str(tests), "-c", str(settings), f"--junitxml={report}"]
        ran = subprocess.run(command, cwd=cwd, env=environ, check=False, stdout=output, stderr=output)
        return Part(name, ran.returncode, **counts(report))


Work = Callable[[IO | None], list[Part]]  # takes where pytest's words go; None is the terminal


@contextmanager
def beside(work: Work, *, aloud: bool) -> Iterator[Future[list[Part]]]:
    """Parts that run one after the other while others do, for machines with more than one core.

    Their words come whole, at their end; `aloud`, where nothing else speaks, as they are said.
    """
    with tempfile.TemporaryFile() as said, ThreadPoolExecutor(1) as pool:
        yield pool.submit(work, None if aloud else said)
        pool.shutdown()
        said.seek(0)
        print(said.read().decode(errors="replace"), flush=True)


def counts(report: Path) -> dict[str, int]:
    """Passed, failed (errors included) and skipped tests of a JUnit report; all zero if there is none."""
    if not report.exists():
        return {}
    suites = list(xml.parse(report).iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    return {"passed": total - failures - errors - skipped, "failed": failures + errors, "skipped": skipped}
