"""Shapes of what is one number per image."""

from __future__ import annotations

from torch import Tensor


def append_dims(values: Tensor, like: Tensor) -> Tensor:
    """One value per image, [B], shaped to broadcast over `like` [B, ...]: [B, 1, ...]."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
