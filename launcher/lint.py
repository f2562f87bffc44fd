"""The lint part of the test run: ruff's linter and formatter, and the types by pyright."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

START_LIMIT = 300  # seconds for a tool to say its version; pyright fetches itself from npm on its first use


@dataclass(frozen=True)
class Check:
    """What one tool came to. `exit_code` is the tool's; None if it could not run at all, for the `reason`."""

    name: str
    exit_code: int | None = None
    reason: str = ""

    @property
    def good(self) -> bool:
        """A tool that cannot run says nothing about the code, so that does not fail the run; CI runs every tool."""
        return self.exit_code in (0, None)

    def __str__(self) -> str:
        if self.exit_code is None:
            return f"{self.name}: did not run ({self.reason})"
        return f"{self.name}: {'clean' if self.good else 'failed, see above'}"


def lint(python: Path, pack: Path) -> list[Check]:
    """The checks of the whole pack, with the tools that `python` has."""
    return [
        check("ruff check", python, ["ruff", "check"], pack),
        check("ruff format", python, ["ruff", "format", "--check"], pack),
        check("pyright", python, ["pyright", "--pythonpath", str(python)], pack),
    ]


def check(name: str, python: Path, command: list[str], pack: Path) -> Check:
    """One tool, if it starts at all; its own words go to the terminal."""
    tool = [str(python), "-m", command[0]]
    if reason := _cannot_start(tool):
        return Check(name, reason=reason)
    return Check(name, subprocess.run([*tool, *command[1:]], cwd=pack, env=_quietly(), check=False).returncode)


def _cannot_start(tool: list[str]) -> str:
    """The last line of what a tool says instead of its version; empty if it starts."""
    try:
        asked = subprocess.run(
            [*tool, "--version"],
            capture_output=True,
            encoding="utf-8",  # npm's, by which pyright fetches itself, whatever the system's own is
            errors="replace",
            timeout=START_LIMIT,
            env=_quietly(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {START_LIMIT} seconds"
    if asked.returncode == 0:
        return ""
    return ([line.strip() for line in (asked.stderr + asked.stdout).splitlines() if line.strip()] or ["no answer"])[-1]


def _quietly() -> dict[str, str]:
    return os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # no word about newer versions
