"""The entry of the command line: `python -m domain_guidance COMMAND`; `--help` after a command lists its options."""

from __future__ import annotations

import argparse
import logging
import sys

from .commands.adapt import adapt
from .commands.adapt_options import add_adapt_options, parse_adapt
from .commands.convert import add_convert_options, convert
from .commands.evaluate import add_evaluate_options, evaluate
from .commands.evaluate_generator import add_evaluate_generator_options, evaluate_generator
from .commands.generate import add_generate_options, generate
from .commands.info import add_info_options, info
from .commands.interrupts import stop_requests
from .commands.options import add_train_options, parse_train
from .commands.sample import add_sample_options, sample
from .commands.train import train

COMMANDS = {
    "train": (train, add_train_options),
    "sample": (sample, add_sample_options),
    "info": (info, add_info_options),
    "convert": (convert, add_convert_options),
    "generate": (generate, add_generate_options),
    "adapt": (adapt, add_adapt_options),
    "evaluate": (evaluate, add_evaluate_options),
    "evaluate-generator": (evaluate_generator, add_evaluate_generator_options),
}
PARSERS = {train: parse_train, adapt: parse_adapt}  # of the commands that have presets
SPARING = {  # what takes less memory
    train: "Lower --micro-batch or switch --gradient-checkpointing on; the same command goes on",
    adapt: "Lower --micro-batch and the same command goes on, or lower --resolution and adapt a new version",
}


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, 1 after one sentence of what is wrong, 130 after an interrupt."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    command, parser = _command(arguments)
    options = PARSERS.get(command, argparse.ArgumentParser.parse_args)(parser, arguments[1:])
    try:
        with stop_requests() as check:
            command(options, check)
    except (ValueError, FloatingPointError) as problem:
        logging.error("Stopped: %s", problem)
        return 1
    except RuntimeError as problem:
        if not _is_out_of_memory(problem):
            raise
        less = SPARING.get(command, "Give it a device with more memory, or smaller pictures")
        logging.error("Stopped: %s. %s.", str(problem).splitlines()[0].rstrip("."), less)
        return 1
    except OSError as problem:
        if problem.errno is None:  # not the system's word: a library's, for a mistake in a call
            raise
        name = "A file" if problem.filename is None else f"'{problem.filename}'"
        logging.error(
            "Stopped: %s cannot be read or written (%s): free the place, or name another one.", name, problem.strerror
        )
        return 1
    except KeyboardInterrupt:
        logging.warning("Stopped by the user; the same command goes on from what is saved.")
        return 130
    return 0


def _is_out_of_memory(problem: RuntimeError) -> bool:
    """PyTorch has a type of its own for it; where the driver says so, it is an AcceleratorError, as any other error of
    a device.
    """
    return "out of memory" in str(problem).lower()


def _command(arguments: list[str]):
    """The command that the first word names, and the parser of the rest."""
    top = argparse.ArgumentParser(prog="python -m domain_guidance", description="Domain guidance without ComfyUI.")
    top.add_argument(
        "command",
        choices=COMMANDS,
        help="train a domain, draw from it, read its card; convert a StyleGAN2, draw from it, adapt it; measure "
        "pictures",
    )
    name = top.parse_args(arguments[:1]).command
    command, add_options = COMMANDS[name]
    parser = argparse.ArgumentParser(prog=f"python -m domain_guidance {name}")
    add_options(parser)
    return command, parser


if __name__ == "__main__":
    sys.exit(main())
