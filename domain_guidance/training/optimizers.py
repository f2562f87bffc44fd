"""The optimisers of a run on images: AdamW, or the one with moments of 8 bits that the paper's release uses."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import nn

from .loop import Settings

FUSED = ("cpu", "cuda")  # devices with a fused AdamW


def adamw_fused(parameters: Sequence[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """AdamW in one pass over its memory, without copies of it on the way. It differs from `loop.adamw` by rounding alone."""
    fused = all(p.device.type in FUSED for p in parameters)
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused)


def adamw_8bit(parameters: Sequence[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """AdamW of bitsandbytes: a quarter of the moments' memory. Raises ValueError where it is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ValueError("8-bit AdamW needs the package bitsandbytes, which is not installed: install it, or leave the option off.")
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
