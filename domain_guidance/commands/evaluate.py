"""`python -m domain_guidance evaluate`: a folder of pictures measured against a folder of real ones."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch

from ..data import FolderImages, ImageSource
from ..evaluation import Comparison, compare, frechet_distance, inception_features, write_json
from .clip_folder import ClipFolder
from .interrupts import Check

logger = logging.getLogger(__name__)


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures to judge, searched with its sub-folders")
    add_measure_options(parser)


def add_measure_options(parser: argparse.ArgumentParser) -> None:
    """What both evaluations ask for."""
    parser.add_argument("--reference", type=Path, required=True, help="folder of real pictures, searched with its sub-folders")
    parser.add_argument("--clip", type=Path, required=True, help="transformers folder of a CLIP, whole or its image half; nothing is downloaded")
    parser.add_argument("--inception", type=Path, help="torch-fidelity's InceptionV3 weights, for FID as well; needs torch-fidelity")
    parser.add_argument("--out", type=Path, help="JSON file of all numbers, and of every picture's nearest reference picture")
    parser.add_argument("--plot", type=Path, help="PNG file of the measures and the closest pairs")
    parser.add_argument("--neighbours", type=int, default=3, help="of precision and recall (default: 3)")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures at a time (default: 32)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling")


def evaluate(options: argparse.Namespace, check: Check) -> None:
    """Measure as the options say. check: called between batches. Raises ValueError with one sentence."""
    device = chosen_device()
    encoder = ClipFolder(options.clip, device)
    samples, reference = FolderImages(options.images), FolderImages(options.reference)
    made = measured(samples, reference, encoder, options, check)
    tell(made, fid(samples, reference, options, check), options)


def chosen_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measured(samples: ImageSource, reference: ImageSource, encoder: ClipFolder, options: argparse.Namespace, check: Check) -> Comparison:
    """The comparison that the options ask for."""
    if options.batch_size < 1 or options.neighbours < 1:
        raise ValueError(f"--batch-size is {options.batch_size} and --neighbours {options.neighbours}, expected at least 1 of each.")
    return compare(
        samples, reference, encoder, neighbours=options.neighbours, seed=options.seed, batch_size=options.batch_size, device=chosen_device(),
        done=lambda count: check(), check=check,
    )  # fmt: skip


def fid(samples: ImageSource, reference: ImageSource, options: argparse.Namespace, check: Check) -> dict[str, Any]:
    """FID with its numbers of pictures, where the options give weights for it."""
    if options.inception is None:
        return {}
    ours, theirs = (inception_features(source, options.inception, chosen_device(), check) for source in (samples, reference))
    return {"fid": frechet_distance(ours, theirs), "fid_images": len(ours), "fid_reference_images": len(theirs)}


def tell(made: Comparison, more: dict[str, Any], options: argparse.Namespace) -> None:
    """Say the measures, and write what the options ask for. more: further facts."""
    for line in made.text.splitlines():
        logger.info("%s", line)
    if "fid" in more:
        counts = (more["fid_images"], more["fid_reference_images"])
        logger.info("FID %.2f from %d and %d images: compare it only at the same numbers.", more["fid"], *counts)
    try:
        if options.out is not None:
            write_json(options.out, made.facts | more)
        if options.plot is not None:
            options.plot.parent.mkdir(parents=True, exist_ok=True)
            made.picture.save(options.plot)
    except OSError as error:
        raise ValueError(f"The result cannot be written to '{error.filename}' ({error.strerror}): choose another place.") from error
