"""What the training loop tells whoever listens: a node's progress bar and the command line read the same events."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One optimiser step is done: its number (from 1), the batch's mean squared error and the rate it was made with."""

    step: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Sample:
    """A good moment to draw pictures: the module holds the averaged weights until the loop is continued."""

    step: int


@dataclass(frozen=True)
class Checkpoint:
    """A good moment to save the state."""

    step: int


@dataclass(frozen=True)
class Finished:
    """All steps are done; from here on the module holds the averaged weights."""

    step: int


Event = Step | Sample | Checkpoint | Finished
