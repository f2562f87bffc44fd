"""Reading what a user wants drawn: the words of a line, and the nearest ones that the world knows."""

from __future__ import annotations

import difflib
import re

from .things import GENERIC, THINGS

SUGGESTIONS = 3
LIKENESS = 0.6  # of difflib: below it, words have hardly more in common than some letters
ARTICLES = ("a ", "an ", "the ")
# What a thing is called here, and in the emoji sets: "football", and "soccer ball".
NAMES = {**{drawing.replace("-", " "): word for word, drawing in THINGS.items()}, **{word: word for word in THINGS}}


def things_in(text: str) -> list[str]:
    """The things that a text names, in its order, separated by commas or line breaks.

    Case and articles do not matter, and a thing's name in the emoji sets is as good. Raises ValueError, one sentence,
    for a text without words and for an unknown word, which is answered with the nearest known ones.
    """
    words = [_bare(part) for part in re.split(r"[,\n]", text)]
    words = [word for word in words if word]
    if not words:
        raise ValueError(f"There is nothing to draw: name things, such as 'cat, owl, rocket', not {text!r}.")
    for word in words:
        if word not in NAMES:
            raise ValueError(f"The emoji world cannot draw {word!r}: {_advice(word)}")
    return [NAMES[word] for word in words]


def nearest(word: str) -> list[str]:
    """The known words that look most like this one, the nearest first; none where nothing is alike."""
    alike = difflib.get_close_matches(word, NAMES, SUGGESTIONS, LIKENESS)
    parts = [known for known in NAMES if set(word.split()) & set(known.split()) - GENERIC]
    return list(dict.fromkeys(NAMES[known] for known in [*alike, *parts]))[:SUGGESTIONS]


def _bare(part: str) -> str:
    word = " ".join(part.lower().replace("-", " ").split())
    article = next((article for article in ARTICLES if word.startswith(article)), "")
    return word.removeprefix(article)


def _advice(word: str) -> str:
    near = nearest(word)
    if not near:
        return f"it knows {len(THINGS)} things, among them {', '.join(list(THINGS)[::12])}."
    return f"did you mean {' or '.join(near)}?"
