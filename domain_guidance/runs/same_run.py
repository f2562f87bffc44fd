"""What a resumed run must share with the saved one, and the words for what it does not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .settings import BatchSettings

# Settings of later releases, with the value that a run saved before them was made with.
LATER = {"distillation unit_score": False, "distillation scale": 1.0, "time_sampling": "uniform"}
# What later releases say of a run beside its settings; one saved before them goes on without it. Numbers may differ by
# this share of their length (our choice), because a text encoder rounds otherwise on another device.
SAID_LATER = {
    "the empty prompt": 1e-2,
    "the noise levels of the model": 1e-4,
    "the distilled guidance": 0.0,
    "the LoRAs and patches on the model": 0.0,
    "the size of the side network": 0.0,
}
FINGERPRINT = re.compile("[0-9a-f]{16}|[0-9a-f]{64}")
# More steps extend a run, and how often it is looked at changes nothing in it. A batch may be cut otherwise.
FREE = ("steps", "sample_every", "checkpoint_every", "evaluate_every", "batch_size", "accumulation")


def settings_identity(settings: BatchSettings, world: int) -> dict[str, Any]:
    """Names and plain values of the settings that make a run what it is. world: the number of processes."""
    named = [
        (name, value)
        for name, value in flat(asdict(settings))
        if name not in FREE and not (name in LATER and value == LATER[name])
    ]
    batch = settings.batch_size * settings.accumulation * world
    return {"images a step": batch, **dict(named)}


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values within values by names of their own, so that a difference names one value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name} ")
        else:
            yield prefix + name, value


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any], name: str) -> None:
    """Raises ValueError naming every difference."""
    different = [key for key in sorted({*saved, *now}) if not _same(key, saved, now)]
    if different:
        before, after = ({**LATER, **values} for values in (saved, now))
        changes = ", ".join(_change(key, before.get(key), after.get(key)) for key in different)
        raise ValueError(
            f"There is a saved run '{name}', which cannot be resumed: {changes}. Change the setting back, choose "
            "another name, or start a new version."
        )


def _same(key: str, saved: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    if key in SAID_LATER and key not in saved:
        return True
    before, after, share = saved.get(key), now.get(key), SAID_LATER.get(key, 0.0)
    return before == after or bool(share and before and after and _near(before, after, share))


def _near(before: Sequence[float], after: Sequence[float], share: float) -> bool:
    return len(before) == len(after) and math.dist(before, after) <= share * math.hypot(*before)


def _change(name: str, before: Any, after: Any) -> str:
    """Fingerprints and long lists say nothing to a person but that they differ."""
    told = [isinstance(value, str) and FINGERPRINT.fullmatch(value) for value in (before, after)]
    if any(told) or SAID_LATER.get(name):
        return f"{name} changed"
    return f"{name} was {before} and is {after}"
