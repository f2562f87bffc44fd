"""What training tells whoever listens: a node's progress bar and the command line read the same events.

`loop.train` gives Step, Sample, Checkpoint and Finished; `run.run_task`, and so every run with files, gives all but
Checkpoint.
"""

from dataclasses import dataclass
from pathlib import Path

from ..memory.estimate import MemoryEstimate


@dataclass(frozen=True)
class Prepared:
    """Before the first step: the step to go on from (0 for a new run), what is going to happen in words, and memory."""

    step: int
    message: str
    memory: MemoryEstimate


@dataclass(frozen=True)
class Step:
    """One optimiser step is done: its number (from 1), the batch's loss and the rate it was made with.

    The loss is a mean squared error in training, and in an adaptation what the critic would change, RMS of z - D.
    """

    step: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Evaluated:
    """The averaged weights at fixed noise and timesteps: mean squared error on training and on held-out images.

    best: the lowest held-out loss so far, this one included. memorising: one sentence for the user, mostly empty.
    """

    step: int
    train: float
    held_out: float
    best: float
    memorising: str = ""


@dataclass(frozen=True)
class Sample:
    """A good moment to draw pictures: the module holds the averaged weights until the loop is continued."""

    step: int


@dataclass(frozen=True)
class Checkpoint:
    """A good moment to save the state."""

    step: int


@dataclass(frozen=True)
class Saved:
    """The state of this step is on disk: a run that ends here, however it ends, goes on from it."""

    path: Path
    step: int


@dataclass(frozen=True)
class Finished:
    """All steps are done; from here on the module holds the averaged weights.

    path: the written result. best_path: the file of the lowest held-out loss; None where nothing is held out.
    """

    step: int
    path: Path | None = None
    best_path: Path | None = None


Event = Prepared | Step | Evaluated | Sample | Checkpoint | Saved | Finished
