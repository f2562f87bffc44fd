"""What a run asks of the thing it trains: a domain (`domain_run`) and a generator's adaptation are two such tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from ..memory.estimate import MemoryEstimate
from .events import Evaluated
from .loop import Objective, TrainingState
from .settings import BatchSettings


class Task(Protocol):
    """One network, how to lower its loss, and what its files say.

    network: the module that is called with a gradient, for `Process.prepare` to spread over processes. result_bytes: of
    the finished files together.
    """

    @property
    def settings(self) -> BatchSettings: ...

    @property
    def network(self) -> nn.Module: ...

    @property
    def result_bytes(self) -> int: ...

    def make_state(self) -> TrainingState:
        """The trained parameters with their optimiser, at step 0."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """Names and plain JSON values that a resumed run must share. A user reads the names when one differs."""
        ...

    def memory(self) -> MemoryEstimate:
        """What the run takes of the device, activations measured."""
        ...

    def notes(self) -> Sequence[str]:
        """Sentences on what is trained, for the user, before the first step."""
        ...

    def objectives(self, network: Callable[..., Tensor], state: TrainingState) -> Sequence[Objective]:
        """The losses of a step's micro-batches. network: what the process made of `network`."""
        ...

    def evaluation(self, state: TrainingState) -> Iterator[Evaluated]:
        """A measurement, where one is due after this step and not known yet."""
        ...

    def saved(self) -> Mapping[str, Any]:
        """What else of it is saved with the state, plain JSON values."""
        ...

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take back what `saved` gave."""
        ...

    def write(self, state: TrainingState) -> None:
        """Write the finished file from the weights that the module holds now.

        Raises OSError if the disk does not take it.
        """
        ...
