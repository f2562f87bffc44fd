"""Ctrl-C, and the notice that a cluster gives before it kills."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Check = Callable[[], None]


@contextmanager
def stop_requests() -> Iterator[Check]:
    """Within the block SIGINT and SIGTERM are heard when the yielded check is called, which then raises KeyboardInterrupt.

    Raised wherever Python happens to be, it may end up in the C code of a library and come out as another error. A second
    signal raises at once.
    """
    heard: list[int] = []

    def hear(number: int, frame: object) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(number)

    def check() -> None:
        if heard:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
