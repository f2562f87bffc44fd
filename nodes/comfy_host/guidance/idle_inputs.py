"""Inputs with which a term does nothing: each is said in one line, in the log and at the node."""

from __future__ import annotations

import torch
from torch import Tensor

from ....domain_guidance.guidance import Schedule
from ..node_text import Say, tell

# What Load Image gives as MASK for a picture without transparency, whatever the picture's size.
PLACEHOLDER = (64, 64)
SHARES = 1000  # at which a schedule is looked at


def given_mask(mask: Tensor | None, say: Say) -> Tensor | None:
    """The mask that was meant: the host's placeholder for "no transparency" is none. Raises ValueError for NaN."""
    if mask is None:
        return None
    if not torch.isfinite(mask).all():
        raise ValueError("mask holds NaN or infinity, expected values from 0 to 1: check the node that produced it.")
    if mask.any() or tuple(mask.shape[-2:]) != PLACEHOLDER:
        return mask
    tell(
        say,
        "The mask is the empty one of 64x64 that Load Image gives for a picture without transparency, so it counts as "
        "no mask.",
    )
    return None


def tell_idle(
    weight: float,
    mask: Tensor | None,
    schedule: Schedule | None,
    start_percent: float,
    end_percent: float,
    say: Say,
) -> None:
    """Say why the term will do nothing, if it will do nothing."""
    if weight == 0:  # meant so, and no matter for the log
        say("Nothing changes, because weight is 0; raise it to guide.")
    elif reason := _reason(mask, schedule, start_percent, end_percent):
        tell(say, f"Nothing changes, because {reason}.")


def _reason(mask: Tensor | None, schedule: Schedule | None, start: float, end: float) -> str:
    if mask is not None and not mask.any():
        height, width = mask.shape[-2:]
        return f"the mask of {width}x{height} is black all over; paint white where this is to act"
    if schedule is not None and not any(map(schedule, _shares(schedule, start, end))):
        return f"every factor of the schedule is 0 from start_percent {start:g} to end_percent {end:g}"
    return ""


def _shares(schedule: Schedule, start: float, end: float) -> list[float]:
    """Shares of the sampling at which the term acts; the schedule's own corners are among them."""
    even = [start + (end - start) * step / SHARES for step in range(SHARES)]
    return [*even, *([end] if end == 1 else []), *(share for share in (schedule.start,) if start <= share < end)]
