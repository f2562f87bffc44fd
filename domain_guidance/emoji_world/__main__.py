"""Make the emoji world: render its drawings, and train its networks.

`python -m domain_guidance.emoji_world drawings --packages DIR --out DIR`: a minute; DIR holds the unpacked packages.
`python -m domain_guidance.emoji_world train --out DIR`: two and a half hours on two cores; the same command resumes.
`python -m domain_guidance.emoji_world samples --out DIR`: `samples.png`, what the networks of DIR draw so far.
`python -m domain_guidance.emoji_world evaluate --out DIR`: what the judge reads, at many weights and the shipped one.
`python -m domain_guidance.emoji_world sheet --out DIR`: `ink.png` and `examples.png`, of what domains were trained on.
`python -m domain_guidance.emoji_world picture --out DIR`: `first-look.png`, held-out things without and in each domain.
"""

from __future__ import annotations

import argparse
import logging
from itertools import product
from pathlib import Path

from .checkpoints import DRAWINGS, load_domain, load_judge
from .domains import into
from .drawing import Guidance, Lead, load_artist
from .drawings import PACKAGES, read_drawings, render, write_drawings
from .evaluation import SEED, score_base, score_domain
from .first_look import first_look
from .samples import picture
from .sheet import EXAMPLES, SHEET, write_examples, write_sheet
from .stages import STAGES
from .things import DOMAINS, THINGS

CFGS = (1.25, 1.5, 2.0, 3.0)
WEIGHTS = (1.0, 2.0, 2.5, 3.0, 4.0)


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.command(options)


def _drawings(options: argparse.Namespace) -> None:
    names, drawn = render(options.packages)
    write_drawings(options.out / DRAWINGS, names, drawn)
    beside = len(names) - len(THINGS)
    logging.info("'%s' holds %d things and %d other drawings", options.out / DRAWINGS, len(THINGS), beside)


def _train(options: argparse.Namespace) -> None:
    for name, make in STAGES.items():
        if (options.out / name).exists():
            logging.info("%s is there already; delete it to make it again", name)
        else:
            make(options.out)


def _samples(options: argparse.Namespace) -> None:
    picture(options.out).save(options.out / "samples.png")
    logging.info("'%s' shows what is drawn so far", options.out / "samples.png")


def _evaluate(options: argparse.Namespace) -> None:
    artist, judge = load_artist(options.out), load_judge(options.out)
    drawn = read_drawings(options.out / DRAWINGS)
    for cfg in CFGS:
        logging.info("base, cfg %g: %s", cfg, score_base(artist, judge, drawn, Guidance(cfg), options.seed))
    for hand, network in ((hand, load_domain(hand, options.out).network) for hand in DOMAINS):
        for cfg in CFGS:
            found = score_domain(artist, judge, drawn, hand, Guidance(cfg), options.seed)
            logging.info("%s, cfg %g, base alone: %s", hand, cfg, found)
        for cfg, weight in product(CFGS, WEIGHTS):
            found = score_domain(artist, judge, drawn, hand, Guidance(cfg, Lead(network, weight)), options.seed)
            logging.info("%s, cfg %g, weight %g: %s", hand, cfg, weight, found)
        found = score_domain(artist, judge, drawn, hand, into(hand, network), options.seed)
        logging.info("%s, as the pack draws it: %s", hand, found)


def _sheet(options: argparse.Namespace) -> None:
    drawn = read_drawings(options.out / DRAWINGS)
    write_sheet(drawn, options.out / SHEET.name)
    write_examples(drawn, options.out / EXAMPLES.name)


def _picture(options: argparse.Namespace) -> None:
    first_look(options.out).save(options.out / "first-look.png")
    logging.info("'%s' shows the base and both domains", options.out / "first-look.png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m domain_guidance.emoji_world", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    drawn = commands.add_parser(
        "drawings",
        help="render the drawings from the packages that you have unpacked",
        formatter_class=argparse.RawTextHelpFormatter,  # any other breaks names at their hyphens
    )
    needed = "\n".join(["folder with these npm packages, unpacked:", *PACKAGES.values()])
    drawn.add_argument("--packages", type=Path, required=True, help=needed)
    drawn.add_argument("--out", type=Path, required=True, help="folder of the world")
    drawn.set_defaults(command=_drawings)
    train = commands.add_parser("train", help="train every network; the same command resumes")
    train.add_argument("--out", type=Path, required=True, help="folder of the world, with the drawings in it")
    train.set_defaults(command=_train)
    samples = commands.add_parser("samples", help="draw some prompts with the last checkpoints")
    samples.add_argument("--out", type=Path, required=True, help="folder of the world")
    samples.set_defaults(command=_samples)
    judged = commands.add_parser("evaluate", help="let the judge read what is drawn, at several weights")
    judged.add_argument("--out", type=Path, required=True, help="folder of the world, all trained")
    judged.add_argument("--seed", type=int, default=SEED, help="of the noise (default: %(default)s)")
    judged.set_defaults(command=_evaluate)
    sheet = commands.add_parser(
        "sheet", help="write pictures that the domains were trained on: ink.png and examples.png"
    )
    sheet.add_argument("--out", type=Path, required=True, help="folder of the world, with the drawings in it")
    sheet.set_defaults(command=_sheet)
    shown = commands.add_parser("picture", help="draw held-out things by the base and in both domains")
    shown.add_argument("--out", type=Path, required=True, help="folder of the world, all trained")
    shown.set_defaults(command=_picture)
    return parser


if __name__ == "__main__":
    main()
