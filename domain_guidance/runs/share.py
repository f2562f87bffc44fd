"""How a step's batch is divided over processes and micro-batches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .process import Process


@dataclass(frozen=True)
class Share:
    """Part `index` of the `count` equal parts that make up a step's batch, over processes and micro-batches."""

    index: int = 0
    count: int = 1

    def of(self, drawn: Tensor) -> Tensor:
        """This share's part of what was drawn for all of them."""
        return drawn.chunk(self.count)[self.index]


def shares(accumulation: int, process: Process) -> list[Share]:
    """The shares that a process works through in a step, one for each of its micro-batches."""
    count = accumulation * process.world
    return [Share(number * process.world + process.rank, count) for number in range(accumulation)]
