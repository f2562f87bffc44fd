"""`python -m domain_guidance info`: what a domain's file says of itself, in plain words."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..domains.domain_file import DomainCard, read_card
from ..domains.training_forms import ADAPTER, is_adapter
from .command import Command
from .interrupts import Check

logger = logging.getLogger(__name__)

FORMS = {
    ADAPTER: "An adapter: a LoRA for its base and for merges of it.",
    "text-free": "A text-free domain UNet: whatever the prompt, it draws its domain.",
    "side-network": "A side network: a small correction of what its base answers.",
    "text-based": "A domain network that reads the empty prompt stored beside it.",
}
PREDICTIONS = {"epsilon": "noise", "v_prediction": "velocity", "flow": "flow"}


def add_info_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="domain file, adapter or side network written by train"
    )


def info(options: argparse.Namespace, check: Check) -> None:
    """Say what the files' cards hold. Raises DomainFileError for a file without one."""
    for path in options.files:
        check()
        logger.info("%s", path.name)
        for line in describe(read_card(path)):
            logger.info("  %s", line)


def describe(card: DomainCard) -> Iterator[str]:
    """The card's facts, a sentence a line."""
    record = card.training
    yield FORMS[ADAPTER if is_adapter(card) else card.form]
    if card.fingerprint:
        yield f"Fingerprint of its weights: {card.fingerprint}."
    yield f"Trained from: {card.base_name or 'a base without a name'} (fingerprint {card.base_fingerprint})."
    yield f"It predicts {PREDICTIONS[card.prediction]}{', with zero terminal SNR' if card.zero_terminal_snr else ''}."
    if card.guidance is not None:
        yield f"Its distilled guidance is {card.guidance:g}."
    yield f"Recommended: weight {card.recommended_weight:g}, cfg {card.recommended_cfg:g}."
    yield from _training(record)


def _training(record: dict[str, Any]) -> Iterator[str]:
    if not {"images", "held_out_images", "trained_steps"} <= record.keys():
        yield "How it was trained is not recorded."
        return
    yield (
        f"Trained for {record['trained_steps']} steps on {record['images']} images; "
        f"{record['held_out_images']} more were held out."
    )
    if "held_out_loss" in record:
        yield f"Loss on held-out images {record['held_out_loss']:.4f}, on training images {record['train_loss']:.4f}."
    settings = ("learning_rate", "batch_size", "accumulation", "processes", "precision", "seed")
    yield (
        "Settings: "
        + ", ".join(f"{name.replace('_', ' ')} {record[name]}" for name in settings if name in record)
        + "."
    )


INFO = Command(
    name="info",
    summary="describe domain files and adapters in plain words",
    add_options=add_info_options,
    run=info,
)
