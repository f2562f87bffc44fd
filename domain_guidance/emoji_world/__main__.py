"""Make the emoji world: render its drawings, and train its networks.

`python -m domain_guidance.emoji_world drawings --packages DIR --out DIR`: a minute; DIR holds the unpacked packages.
`python -m domain_guidance.emoji_world train --out DIR`: about a day on one core; the same command resumes.
`python -m domain_guidance.emoji_world samples --out DIR`: `samples.png`, what the networks of DIR draw so far.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from .checkpoints import DRAWINGS
from .drawings import render, write_drawings
from .samples import picture
from .stages import STAGES


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.command(options)


def _drawings(options: argparse.Namespace) -> None:
    write_drawings(options.out / DRAWINGS, render(options.packages))
    logging.info("'%s' holds the drawings", options.out / DRAWINGS)


def _train(options: argparse.Namespace) -> None:
    for name, make in STAGES.items():
        if (options.out / name).exists():
            logging.info("%s is there already; delete it to make it again", name)
        else:
            make(options.out)


def _samples(options: argparse.Namespace) -> None:
    picture(options.out).save(options.out / "samples.png")
    logging.info("'%s' shows what is drawn so far", options.out / "samples.png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m domain_guidance.emoji_world", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    drawn = commands.add_parser("drawings", help="render the drawings from the packages that you have unpacked")
    drawn.add_argument("--packages", type=Path, required=True, help="folder with the unpacked npm packages")
    drawn.add_argument("--out", type=Path, required=True, help="folder of the world")
    drawn.set_defaults(command=_drawings)
    train = commands.add_parser("train", help="train every network; the same command resumes")
    train.add_argument("--out", type=Path, required=True, help="folder of the world, with the drawings in it")
    train.set_defaults(command=_train)
    samples = commands.add_parser("samples", help="draw some prompts with the last checkpoints")
    samples.add_argument("--out", type=Path, required=True, help="folder of the world")
    samples.set_defaults(command=_samples)
    return parser


if __name__ == "__main__":
    main()
