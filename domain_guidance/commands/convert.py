"""`python -m domain_guidance convert`: a StyleGAN2 or EG3D generator of any format into one generator file."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..generators import convert as convert_file
from .command import Command
from .interrupts import Check

logger = logging.getLogger(__name__)


def add_convert_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        type=Path,
        metavar="IN",
        help="NVIDIA's .pkl (PyTorch, TensorFlow or EG3D), rosinality's .pt, or a generator file",
    )
    parser.add_argument("target", type=Path, metavar="OUT", help="generator file to write, a .safetensors")


def convert(options: argparse.Namespace, check: Check) -> None:
    """Convert as the options say.

    Nothing of the source is executed. Raises GeneratorFileError for one that cannot be used.
    """
    card = convert_file(options.source, options.target)
    source = f"'{card.origin.name}', {card.origin.kind}" if card.origin else f"'{options.source.name}'"
    logger.info("'%s' is written: a generator of %d px from %s", options.target, card.config.resolution, source)
    if card.origin and card.origin.estimated:
        logger.info(
            "It holds %d tensors that its source did not: the mean style is estimated, noise maps are drawn",
            len(card.origin.estimated),
        )


CONVERT = Command(
    name="convert",
    summary="convert a StyleGAN2 or EG3D file to a generator file",
    add_options=add_convert_options,
    run=convert,
)
