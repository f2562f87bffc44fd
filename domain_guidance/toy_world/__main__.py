"""Make the toy world's weights, or sweep the weights of the methods that the demo compares.

`python -m domain_guidance.toy_world train --out DIR`: under an hour on one core; the same command resumes.
`python -m domain_guidance.toy_world sweep`: about 6 minutes; what `comparison.BEST` was chosen from.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from .comparison import load_models
from .stages import STAGES
from .sweep import sweep
from .weights import FOLDER


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.command(options)


def _train(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    for name, make in STAGES.items():
        if (options.out / name).exists():
            logging.info("%s is there already; delete it to make it again", name)
        else:
            make(options.out)


def _sweep(options: argparse.Namespace) -> None:
    sweep(load_models(options.weights))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m domain_guidance.toy_world", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser("train", help="train base, judge, domain and fine-tune; the same command resumes")
    train.add_argument("--out", type=Path, required=True, help="folder of the weights and of the checkpoints on the way")
    train.set_defaults(command=_train)
    swept = commands.add_parser("sweep", help="score every method at several weights, on other seeds than the demo's")
    swept.add_argument("--weights", type=Path, default=FOLDER, help="folder of the weights (default: the shipped ones)")
    swept.set_defaults(command=_sweep)
    return parser


if __name__ == "__main__":
    main()
