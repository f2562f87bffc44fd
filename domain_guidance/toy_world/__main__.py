"""Make the toy world's weights, sweep the weights of the methods that the demo compares, or train a domain as a user
does.

`python -m domain_guidance.toy_world train --out DIR`: about an hour on one core; the same command resumes.
`python -m domain_guidance.toy_world sweep`: about 6 minutes; what `comparison.BEST` was chosen from.
`python -m domain_guidance.toy_world sheet`: paint `plates.png`, the pictures that the node Toy World gives.
`python -m domain_guidance.toy_world export --out DIR`: a base and pictures for `python -m domain_guidance train`.
`python -m domain_guidance.toy_world evaluate FILE ...`: what the trained files are worth. docs/training.md uses both.
`python -m domain_guidance.toy_world adapt --out DIR`: the generator adapted, as docs/adaptation.md shows;
`adapt-sweep`: what its settings were chosen from. The same command resumes.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from .adaptation_runs import adaptations, picture
from .adaptation_runs import sweep as adaptation_sweep
from .checkpoints import FOLDER, load_generator
from .comparison import every_prompt, load_models
from .evaluation import evaluate
from .evaluation import picture as evaluation_picture
from .export import PICTURES, export
from .plates import SHEET, write_sheet
from .stages import STAGES
from .sweep import sweep


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


def _sheet(options: argparse.Namespace) -> None:
    write_sheet(options.out)


def _export(options: argparse.Namespace) -> None:
    export(options.out, options.pictures)
    logging.info("'%s' holds the base and '%s' the pictures", options.out / "base", options.out / "images")


def _evaluate(options: argparse.Namespace) -> None:
    asked = every_prompt(options.repeats)
    found = evaluate(load_models(), options.files, asked)
    if options.out:
        evaluation_picture(found, asked).save(options.out)


def _adapt(options: argparse.Namespace) -> None:
    shown = adaptations(load_models(), load_generator(), options.out)
    picture(shown).save(options.out / "adaptation.png")


def _adapt_sweep(options: argparse.Namespace) -> None:
    adaptation_sweep(load_models(), load_generator(), options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m domain_guidance.toy_world", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser(
        "train", help="train base, judge, domain, fine-tune, generator and side network; the same command resumes"
    )
    train.add_argument(
        "--out", type=Path, required=True, help="folder of the weights and of the checkpoints on the way"
    )
    train.set_defaults(command=_train)
    swept = commands.add_parser("sweep", help="score every method at several weights, on other seeds than the demo's")
    swept.add_argument("--weights", type=Path, default=FOLDER, help="folder of the weights (default: the shipped ones)")
    swept.set_defaults(command=_sweep)
    sheet = commands.add_parser("sheet", help="paint the sheet of plates that comes with the pack")
    sheet.add_argument("--out", type=Path, default=SHEET, help="the picture to write (default: the shipped one)")
    sheet.set_defaults(command=_sheet)
    _add_own_training(commands)
    _add_adaptation(commands)
    return parser


def _add_own_training(commands) -> None:
    """What goes before and after `python -m domain_guidance train` on the toy world."""
    exported = commands.add_parser("export", help="write the base as a diffusers folder, and pictures of the domain")
    exported.add_argument("--out", type=Path, required=True, help="folder to write `base` and `images` to")
    exported.add_argument(
        "--pictures", type=int, default=PICTURES, help=f"how many pictures to paint (default: {PICTURES})"
    )
    exported.set_defaults(command=_export)
    judged = commands.add_parser("evaluate", help="judge trained files beside the base and the shipped domain")
    judged.add_argument("files", type=Path, nargs="*", help="domain files or adapters that the train command wrote")
    judged.add_argument("--repeats", type=int, default=3, help="pictures per prompt; there are 50 prompts")
    judged.add_argument("--out", type=Path, help="a picture to write")
    judged.set_defaults(command=_evaluate)


def _add_adaptation(commands) -> None:
    adapted = commands.add_parser(
        "adapt", help="adapt the generator to a prompt and to the domain, beside what else one could do"
    )
    adapted.set_defaults(command=_adapt)
    swept = commands.add_parser("adapt-sweep", help="adapt it with many settings, on other seeds")
    swept.set_defaults(command=_adapt_sweep)
    for parser in (adapted, swept):
        parser.add_argument(
            "--out", type=Path, required=True, help="folder of the adapted generators; what is there is not made again"
        )


if __name__ == "__main__":
    main()
