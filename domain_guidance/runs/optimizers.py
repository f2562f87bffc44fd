"""The optimisers of runs: AdamW for domains, with moments of 32 bits or 8; Adam for generators."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import nn

from .loop import Settings

FUSED = ("cpu", "cuda")  # devices with a fused AdamW
ADAPTATION_BETAS = (0.0, 0.992)


def adamw_fused(parameters: Sequence[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """AdamW in one pass over its memory, without copies of it on the way.

    It differs from `loop.adamw` by rounding alone.
    """
    return torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=_can_fuse(parameters)
    )


def adam(parameters: Sequence[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """Adam as a generator is adapted with (arXiv 2212.04473): no momentum, second moments over about 125 steps."""
    return torch.optim.Adam(parameters, lr=settings.learning_rate, betas=ADAPTATION_BETAS, fused=_can_fuse(parameters))


def check_bitsandbytes() -> None:
    """Call it before the images are encoded. Raises ValueError where bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            "8-bit AdamW needs the package bitsandbytes, which is not installed: install it, or leave the option off."
        )


def adamw_8bit(parameters: Sequence[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """AdamW of bitsandbytes: a quarter of the moments' memory. Raises ValueError where it is not installed."""
    check_bitsandbytes()
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _can_fuse(parameters: Sequence[nn.Parameter]) -> bool:
    return all(parameter.device.type in FUSED for parameter in parameters)
