"""Lists of numbers as people write them."""

from __future__ import annotations

import math
import re


def parse_numbers(text: str, name: str, low: float, high: float) -> list[float]:
    """The numbers of "0, 1, 1.5" in their order. Raises ValueError, one sentence, naming the list `name`."""
    words = [word for word in re.split(r"[,;\s]+", text) if word]
    if not words:
        raise ValueError(f"The list of {name} is empty: give numbers separated by commas, such as 0, 1, 1.5.")
    return [_number(word, name, low, high) for word in words]


def _number(word: str, name: str, low: float, high: float) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ValueError(
            f"The list of {name} has '{word}' in it, which is no number: separate numbers by commas and write decimals "
            "with a point, such as 0, 1, 1.5."
        )
    if not low <= number <= high:
        raise ValueError(f"The list of {name} has {number:g} in it: give numbers from {low:g} to {high:g}.")
    return number + 0.0  # -0 is 0
