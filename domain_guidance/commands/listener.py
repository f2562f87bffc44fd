"""What a run shows on the command line: log lines, previews, the curve, and TensorBoard if it is installed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from importlib.util import find_spec
from typing import Any

from PIL import Image

from ..runs import Evaluated, Event, Finished, Prepared, Process, RunFiles, Sample, Saved, Step
from ..runs.curves import draw_curves

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 2.0  # every step is in the log file


class Listener:
    """Says what happens: log lines, preview pictures, the curve, and TensorBoard where it is installed."""

    def __init__(self, files: RunFiles, steps: int, draw: Callable[[], Image.Image], writer: Any):
        self.files, self.steps, self.draw, self.writer = files, steps, draw, writer
        self.started, self.said, self.first = time.monotonic(), 0.0, 0

    def hear(self, event: Event) -> None:
        if isinstance(event, Prepared):
            self.started, self.first = time.monotonic(), event.step
            logger.info("%s", event.message)
        elif isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Evaluated):
            self._evaluated(event)
        elif isinstance(event, Sample):
            self.draw().save(self.files.run_folder / f"sample-{event.step:06d}.png")
        elif isinstance(event, Saved):
            draw_curves(self.files.log).save(self.files.curve)
            logger.info("step %d is saved in '%s'", event.step, event.path)
        elif isinstance(event, Finished):
            best = f"; the lowest held-out loss is that of '{event.best_path}'" if event.best_path else ""
            logger.info("'%s' is written, trained for %d steps%s", event.path, event.step, best)

    def _step(self, event: Step) -> None:
        now = time.monotonic()
        if now - self.said >= SECONDS_BETWEEN_LINES or event.step == self.steps:
            pace = (now - self.started) / (event.step - self.first)
            left = pace * (self.steps - event.step)
            logger.info(
                "step %d of %d, loss %.4f, %.2f s a step, %.0f s left", event.step, self.steps, event.loss, pace, left
            )
            self.said = now
        if self.writer:
            self.writer.add_scalar("loss/step", event.loss, event.step)
            self.writer.add_scalar("learning_rate", event.learning_rate, event.step)

    def _evaluated(self, event: Evaluated) -> None:
        logger.info(
            "step %d: loss on training images %.4f, on held-out ones %.4f", event.step, event.train, event.held_out
        )
        if event.memorising:
            logger.warning("%s", event.memorising)
        draw_curves(self.files.log).save(self.files.curve)
        if self.writer:
            self.writer.add_scalar("loss/training", event.train, event.step)
            self.writer.add_scalar("loss/held_out", event.held_out, event.step)


def tensorboard(files: RunFiles, process: Process, stack: ExitStack):
    """A writer for TensorBoard, where that is installed; None elsewhere."""
    if process.rank or find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return stack.enter_context(closing(SummaryWriter(str(files.run_folder / "tensorboard"))))
