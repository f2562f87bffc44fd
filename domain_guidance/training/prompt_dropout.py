"""Prompts that forget words while a model trains, for guidance without them (arXiv 2207.12598)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def forgotten(
    slots: Sequence[Tensor], whole: float, single: Sequence[float], generator: torch.Generator
) -> list[Tensor]:
    """Slots of indices `[N]`: all are opened (-1) with probability `whole`, and each with its own of `single`."""
    count = len(slots[0])
    everything = torch.rand(count, generator=generator) < whole
    return [
        words.masked_fill(everything | (torch.rand(count, generator=generator) < probability), -1)
        for words, probability in zip(slots, single)
    ]
