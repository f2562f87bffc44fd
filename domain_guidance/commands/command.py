"""What a command of a command line is, and how the words that a user types become its options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .interrupts import Check

SEEDS = 2**64  # how many there are, from 0 up


def _as_parsed(options: argparse.Namespace) -> None:
    """Leave the options as they are."""


@dataclass(frozen=True)
class Command:
    """One command: what `--help` says of it, which options it takes and what it does with them.

    summary: one line, of at most 58 characters so that it fits beside the name in a terminal of 80 columns.
    run: is given the options and a check to call between its steps, which raises what ends the work. Raises ValueError
        with one sentence for the user.
    presets: by the name that `--preset` takes, values that stand in for the options' defaults.
    resolve: fills in, in place, the options whose default depends on other options.
    less_memory: what to do after running out of memory.
    """

    name: str
    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Check], None]
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    resolve: Callable[[argparse.Namespace], None] = _as_parsed
    less_memory: str = "Use a device with more memory, or smaller pictures"


def parse(
    program: str, description: str, commands: Sequence[Command], arguments: Sequence[str] | None = None
) -> tuple[Command, argparse.Namespace]:
    """The command that the first word names, and its options: what was typed, then the preset's, then the defaults.

    arguments: left out, those of this process. Raises SystemExit after `--help` and for words that cannot be read.
    """
    parser = argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    places = parser.add_subparsers(
        title="commands",
        # argparse's own list breaks the lines of long names.
        description="\n".join(f"{command.name:20}{command.summary}" for command in commands),
        dest="command",
        metavar="COMMAND",
        required=True,
        help="one of these; COMMAND --help lists its options",
    )
    for command in commands:
        command.add_options(places.add_parser(command.name, description=_sentence(command.summary)))
    options = parser.parse_args(arguments)
    command = next(command for command in commands if command.name == options.command)
    if command.presets and options.preset:
        places.choices[command.name].set_defaults(**command.presets[options.preset])
        options = parser.parse_args(arguments)
    _check_finite(options, places.choices[command.name])
    _check_seed(options, places.choices[command.name])
    del vars(options)["command"]
    command.resolve(options)
    return command, options


def _check_finite(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse NaN and infinity, which Python reads as numbers."""
    for name, value in vars(options).items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(one, float) and not math.isfinite(one):
                parser.error(f"argument --{name.replace('_', '-')}: got {one}, expected a finite number.")


def _check_seed(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse a seed that PyTorch cannot take.

    It takes negative ones, which are not offered but left alone, so that runs which were begun with one go on.
    """
    seed = getattr(options, "seed", 0)
    if not -(2**63) <= seed < SEEDS:
        parser.error(f"argument --seed: got {seed}, expected a whole number from 0 to {SEEDS - 1}.")


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."
