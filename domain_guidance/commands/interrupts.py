"""Ctrl-C, and the notice that a cluster gives before it kills."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..runs.process import Process

Check = Callable[[], None]


@contextmanager
def stop_requests() -> Iterator[Check]:
    """Within the block, the yielded check raises KeyboardInterrupt once SIGINT or SIGTERM has come.

    Raised wherever Python happens to be, it may end up in the C code of a library and come out as another error. A
    second signal raises at once.
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


def stop_together(process: Process, check: Check) -> None:
    """Raises KeyboardInterrupt in all processes where one of them was told to stop.

    Who goes on alone waits for the others' gradients for ever. Every process must call it equally often.
    """
    told = False
    try:
        check()
    except KeyboardInterrupt:
        told = True
    if process.mean(torch.tensor(float(told))) > 0:
        raise KeyboardInterrupt
