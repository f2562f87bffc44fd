"""Nodes that take all items of a list at once, as a set of images is, where the host would run once for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any


def takes_lists(*sets: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For a method of a node with `is_input_list`, to which the host gives every input as a list.

    sets: inputs that arrive as the list; of every other one the only item arrives. Raises ValueError, one sentence,
    where such an input has several.
    """

    def unlisted(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def called(cls, **inputs):
            node = cls.SCHEMA.display_name if cls.SCHEMA is not None else cls.__name__
            return method(cls, **{n: v if n in sets else _only(node, n, v) for n, v in inputs.items()})

        return called

    return unlisted


def _only(node: str, name: str, values: Any) -> Any:
    if not isinstance(values, (list, tuple)):
        return values
    if len(values) != 1:
        raise ValueError(f"{node} got a list of {len(values)} for {name}, expected one: connect a single {name}.")
    return values[0]
