"""`python -m domain_guidance evaluate`: a folder of pictures measured against a folder of real ones."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import FolderImages, Pictures
from ..diffusers_host.clip import ClipFolder
from ..evaluation import Comparison, compare, frechet_distance, inception_features, load_inception, write_json
from .command import Command
from .interrupts import Check

logger = logging.getLogger(__name__)


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        help="folder of the pictures to judge; its subfolders are searched as well",
    )
    add_measure_options(parser)


def add_measure_options(parser: argparse.ArgumentParser) -> None:
    """What both evaluations ask for."""
    parser.add_argument(
        "--reference", type=Path, required=True, help="folder of real pictures; its subfolders are searched as well"
    )
    parser.add_argument(
        "--clip",
        type=Path,
        required=True,
        help="folder of a CLIP model or its image encoder, in the format of transformers",
    )
    parser.add_argument(
        "--inception",
        type=Path,
        help="InceptionV3 weights of torch-fidelity, to measure FID as well; needs the package torch-fidelity",
    )
    parser.add_argument(
        "--out", type=Path, help="JSON file for all numbers and for the reference picture nearest to each picture"
    )
    parser.add_argument("--plot", type=Path, help="PNG file for the measures and the closest pairs")
    parser.add_argument(
        "--neighbours", type=int, default=3, help="neighbours that precision and recall look at (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="pictures at a time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling (default: %(default)s)")


def evaluate(options: argparse.Namespace, check: Check) -> None:
    """Measure as the options say. check: called between batches. Raises ValueError with one sentence."""
    check_measure_options(options)
    inception = opened_inception(options)
    encoder = ClipFolder(options.clip, chosen_device())
    samples, reference = FolderImages(options.images), FolderImages(options.reference)
    made = measured(samples, reference, encoder, options, check)
    tell(made, made.facts, options)
    tell_fid(inception, samples, reference, made.facts, options, check)


def chosen_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_measure_options(options: argparse.Namespace) -> None:
    if options.batch_size < 1 or options.neighbours < 1:
        raise ValueError(
            f"--batch-size is {options.batch_size} and --neighbours {options.neighbours}, expected at least 1 of each."
        )
    if options.plot is not None and options.plot.suffix.lower() != ".png":
        raise ValueError(f"--plot is '{options.plot.name}', expected the name of a .png file.")
    for name in ("images", "reference"):
        _check_outside(options.plot, name, getattr(options, name, None))


def _check_outside(plot: Path | None, name: str, folder: Path | None) -> None:
    """Refuse a plot that the next evaluation would take for one of the pictures."""
    if plot is not None and folder is not None and plot.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"--plot is '{plot}', which is in --{name}, so it would be measured as a picture the next time: name a "
            f"file outside '{folder}'."
        )


def opened_inception(options: argparse.Namespace) -> nn.Module | None:
    """FID's network, where the options give weights for it. Raises ValueError for other weights."""
    return None if options.inception is None else load_inception(options.inception)


def measured(
    samples: Pictures, reference: Pictures, encoder: ClipFolder, options: argparse.Namespace, check: Check
) -> Comparison:
    """The comparison that the options ask for."""
    return compare(
        samples,
        reference,
        encoder,
        neighbours=options.neighbours,
        seed=options.seed,
        batch_size=options.batch_size,
        device=chosen_device(),
        done=lambda count: check(),
        check=check,
    )


def tell(made: Comparison, facts: dict[str, Any], options: argparse.Namespace) -> None:
    """Say the measures, and write what the options ask for. facts: all that is to be in the JSON file."""
    for line in made.text.splitlines():
        logger.info("%s", line)
    write(facts, options)
    if options.plot is not None:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        made.picture.save(options.plot)


def tell_fid(
    network: nn.Module | None,
    samples: Pictures,
    reference: Pictures,
    facts: dict[str, Any],
    options: argparse.Namespace,
    check: Check,
) -> None:
    """Measure FID where there is a network for it, say it, and write it beside the facts, which are written already."""
    if network is None:
        return
    ours, theirs = (inception_features(source, network, chosen_device(), check) for source in (samples, reference))
    distance = frechet_distance(ours, theirs)
    logger.info(
        "FID %.2f from %d and %d images: compare it only at the same numbers.", distance, len(ours), len(theirs)
    )
    write(facts | {"fid": distance, "fid_images": len(ours), "fid_reference_images": len(theirs)}, options)


def write(facts: dict[str, Any], options: argparse.Namespace) -> None:
    if options.out is not None:
        write_json(options.out, facts)


EVALUATE = Command(
    name="evaluate",
    summary="measure a folder of pictures against real ones",
    add_options=add_evaluate_options,
    run=evaluate,
)
