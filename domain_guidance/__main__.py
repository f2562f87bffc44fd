"""The entry of the command line: `python -m domain_guidance COMMAND`; `--help` lists and describes the commands."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Sequence
from typing import TextIO

from .commands.adapt import ADAPT
from .commands.command import parse
from .commands.convert import CONVERT
from .commands.evaluate import EVALUATE
from .commands.evaluate_generator import EVALUATE_GENERATOR
from .commands.export import EXPORT
from .commands.generate import GENERATE
from .commands.info import INFO
from .commands.interrupts import stop_requests
from .commands.sample import SAMPLE
from .commands.train import TRAIN

COMMANDS = (TRAIN, SAMPLE, INFO, EXPORT, CONVERT, GENERATE, ADAPT, EVALUATE, EVALUATE_GENERATOR)
DESCRIPTION = "Domain guidance for diffusion models, without ComfyUI."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status.

    0, 1 after one sentence that says what is wrong, 130 after an interrupt. arguments: left out, those of this process.
    """
    _let_every_name_be_said(sys.stdout)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    command, options = parse("python -m domain_guidance", DESCRIPTION, COMMANDS, arguments)
    try:
        with stop_requests() as check:
            command.run(options, check)
    except (ValueError, FloatingPointError) as problem:
        logging.error("Stopped: %s", problem)
        return 1
    except (RuntimeError, MemoryError) as problem:
        want = _want_of_memory(problem)
        if not want:
            raise
        logging.error("Stopped: %s. %s.", want, command.less_memory)
        return 1
    except OSError as problem:
        if problem.errno is None:  # not the system's word: a library's, for a mistake in a call
            raise
        name = "A file" if problem.filename is None else f"'{problem.filename}'"
        logging.error(
            "Stopped: %s cannot be read or written (%s): free some disk space or choose another path.",
            name,
            problem.strerror,
        )
        return 1
    except KeyboardInterrupt:
        logging.warning("Stopped by the user; the same command resumes from what is saved.")
        return 130
    return 0


def _let_every_name_be_said(output: TextIO) -> None:
    """Names that the console has no letters for are said in escapes; the message would be lost with them."""
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="backslashreplace")


def _want_of_memory(problem: RuntimeError | MemoryError) -> str:
    """What to say if memory has run out; empty for any other error.

    PyTorch has a type of its own for a GPU's; where the driver says so, it is an AcceleratorError, as any other error
    of a device. The computer's own is asked for by an allocator that names itself, or by Python.
    """
    if isinstance(problem, MemoryError) or "DefaultCPUAllocator" in str(problem):
        return "The computer is out of memory"
    return str(problem).splitlines()[0].rstrip(".") if "out of memory" in str(problem).lower() else ""


if __name__ == "__main__":
    sys.exit(main())
