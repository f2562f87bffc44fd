"""One part of the test run: pytest in its own process, and how many tests it really executed."""

from __future__ import annotations

import os
import subprocess
import tempfile
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path


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


def run_part(name: str, python: Path, tests: Path, *, cwd: Path, settings: Path) -> Part:
    """Run the tests of a folder with the working directory `cwd` and the pytest settings file `settings`."""
    environ = os.environ | {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")
    }  # small tensors: threads only cost
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [str(python), "-m", "pytest", str(tests), "-c", str(settings), f"--junitxml={report}"]
        code = subprocess.run(command, cwd=cwd, env=environ, check=False).returncode
        return Part(name, code, **counts(report))


def counts(report: Path) -> dict[str, int]:
    """Passed, failed (errors included) and skipped tests of a JUnit report; all zero if there is none."""
    if not report.exists():
        return {}
    suites = list(xml.parse(report).iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    return {"passed": total - failures - errors - skipped, "failed": failures + errors, "skipped": skipped}
