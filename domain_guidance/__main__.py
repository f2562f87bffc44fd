"""`python -m domain_guidance train | sample | info | convert | generate`; `--help` after one of them lists its options."""

from __future__ import annotations

import argparse
import logging
import sys

import torch

from .commands.convert import add_convert_options, convert
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
}


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, 1 after one sentence of what is wrong, 130 after an interrupt."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    command, parser = _command(arguments)
    options = parse_train(parser, arguments[1:]) if command is train else parser.parse_args(arguments[1:])
    try:
        with stop_requests() as check:
            command(options, check)
    except (ValueError, FloatingPointError) as problem:
        logging.error("Stopped: %s", problem)
        return 1
    except torch.cuda.OutOfMemoryError as problem:
        logging.error("Stopped: %s Lower --micro-batch or switch --gradient-checkpointing on; the same command goes on.", problem)
        return 1
    except KeyboardInterrupt:
        logging.warning("Stopped by the user; the same command goes on from what is saved.")
        return 130
    return 0


def _command(arguments: list[str]):
    """The command that the first word names, and the parser of the rest."""
    top = argparse.ArgumentParser(prog="python -m domain_guidance", description="Domain guidance without ComfyUI.")
    top.add_argument("command", choices=COMMANDS, help="train a domain, draw from it, read its card; convert a StyleGAN2, draw from it")
    name = top.parse_args(arguments[:1]).command
    command, add_options = COMMANDS[name]
    parser = argparse.ArgumentParser(prog=f"python -m domain_guidance {name}")
    add_options(parser)
    return command, parser


if __name__ == "__main__":
    sys.exit(main())
