"""What a resumed run must share with the saved one, and the words for what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .run_settings import RunSettings
from .trainable import Trainable

# More steps extend a run, and how often it is looked at changes nothing in it. A batch may be cut otherwise.
FREE = ("steps", "sample_every", "checkpoint_every", "evaluate_every", "batch_size", "accumulation")


def identity(trainable: Trainable, settings: RunSettings, images: str, world: int) -> dict[str, Any]:
    """Names and plain values that make a run what it is. images: the fingerprint of the image set."""
    chosen = {name: value for name, value in asdict(settings).items() if name not in FREE}
    batch = settings.batch_size * settings.accumulation * world
    return {**trainable.identity, "prediction": trainable.prediction, "images, their sizes or the VAE": images, "images a step": batch, **chosen}


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any], name: str) -> None:
    """Raises ValueError naming every difference."""
    different = [key for key in sorted({*saved, *now}) if saved.get(key) != now.get(key)]
    if different:
        changes = ", ".join(f"{key} was {saved.get(key)} and is {now.get(key)}" for key in different)
        raise ValueError(f"The saved run '{name}' cannot go on: {changes}. Set it back, or train a new version.")
