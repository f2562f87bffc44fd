"""Lists of numbers as people write them."""

from __future__ import annotations

import math
import re

RULE = "numbers separated by commas, such as 0, 1, 1.5; separated by semicolons or spaces, 1,5 means one and a half"


def parse_numbers(text: str, name: str, low: float, high: float) -> list[float]:
    """The numbers of "0, 1, 1.5" in their order, or of "0; 1; 1,5".

    A comma between two digits is a decimal comma where semicolons or spaces alone separate, else it separates, as a
    comma beside a space always does. Raises ValueError, one sentence, naming the list `name`.
    """
    words = _words(text, name)
    if not words:
        raise ValueError(f"The list of {name} is empty: enter numbers separated by commas, such as 0, 1, 1.5.")
    return [_number(word, name, low, high) for word in words]


def _words(text: str, name: str) -> list[str]:
    # A comma beside a space, or at either end, separates in every way of writing.
    text = re.sub(r"\s*,\s+|\s+,|^,|,$", "|", text.strip())
    if not re.search(r"[;\s]", text):
        return [word for word in re.split(r"[,|]+", text) if word]
    words = [word for word in re.split(r"[;\s|]+", text) if word]
    if any("," in word for word in words):
        _check_decimals(words, name)
    return [word.replace(",", ".") for word in words]


def _check_decimals(words: list[str], name: str) -> None:
    """Refuse commas that may be meant in either way."""
    bad = next((word for word in words if "," in word and not re.fullmatch(r"[+-]?\d+,\d+", word)), None)
    if bad is not None or any("." in word for word in words):
        what = f"'{bad}' in it" if bad is not None else "decimal points and decimal commas in it"
        raise ValueError(f"The list of {name} has {what}, which can be read in two ways: enter {RULE}.")


def _number(word: str, name: str, low: float, high: float) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"The list of {name} contains '{word}', which is not a number: enter {RULE}.")
    if not low <= number <= high:
        raise ValueError(f"The list of {name} contains {number:g}: enter numbers from {low:g} to {high:g}.")
    return number + 0.0  # -0 is 0
