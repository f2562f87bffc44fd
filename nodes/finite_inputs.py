"""NaN and infinity, which the host lets through: NaN is neither below a minimum nor above a maximum."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any


def finite_inputs(execute: Callable[..., Any]) -> Callable[..., Any]:
    """A node's `execute` that refuses NaN and infinity in every number it is given, also within lists."""

    @wraps(execute)
    def checked(cls, *args, **inputs):
        for name, value in inputs.items():
            _check(name, value)
        return execute(cls, *args, **inputs)

    return checked


def _check(name: str, value: Any) -> None:
    if isinstance(value, (list, tuple)):
        for one in value:
            if isinstance(one, float):
                _check(name, one)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}, expected a number: check what is connected to {name}, or enter a number.")
