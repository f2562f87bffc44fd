"""The errors of generator files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class GeneratorFileError(ValueError):
    """A generator's file that cannot be used; the message is one sentence for the user."""


class Refused(GeneratorFileError):
    """Why, as the end of a sentence that begins with the file's name."""


@contextmanager
def about(name: str) -> Iterator[None]:
    """Within the block a refusal becomes a sentence about the file of this name."""
    try:
        yield
    except Refused as reason:
        raise GeneratorFileError(f"'{name}' is refused: {reason}.") from reason
