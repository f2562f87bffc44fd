"""What a user sees of a long run at its node: the bar, the time left, and pictures above the curves."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import comfy.model_management
import comfy.utils
from PIL import Image

from ...domain_guidance.runs import Event, Finished, Prepared, RunFiles, Sample, Step
from ...domain_guidance.runs.curves import draw_curves
from .node_text import STATE, Say

PREVIEW_SIDE = 512


class RunProgress:
    """Hears the events of one run and shows them.

    say: shows sentences at the node.
    """

    def __init__(self, say: Say):
        self._say, self._picture = say, None
        self.step = 0

    def begin_run(self, files: RunFiles, steps: int) -> None:
        self._files, self._steps = files, steps
        self._bar = comfy.utils.ProgressBar(steps)
        self._started, self._first = time.monotonic(), 0

    def hear(self, event: Event) -> None:
        if isinstance(event, Prepared):
            self.step = self._first = event.step
            logging.info("Domain Guidance: %s", event.message)
            self._say("", STATE)
            self._say(event.message, "prepared")
        elif isinstance(event, Step):
            self._made(event)
        elif isinstance(event, Sample):
            self._picture = self.drawn(event.step)
            self.show(event.step)

    def drawn(self, step: int) -> Image.Image:
        """What the module holds at this moment, in pictures."""
        raise NotImplementedError

    def show(self, step: int) -> None:
        """The newest pictures, where any are drawn, above the curves so far."""
        curves = draw_curves(self._files.log)
        self._bar.update_absolute(
            step, self._steps, ("JPEG", _stacked(self._picture, curves) if self._picture else curves, PREVIEW_SIDE)
        )

    def curves(self) -> Image.Image:
        picture = draw_curves(self._files.log)
        try:
            picture.save(self._files.curve)
        except OSError as error:  # of a run that is finished
            reason = error.strerror or error
            logging.warning(
                "Domain Guidance: the curves cannot be written to '%s' (%s); the result is complete without them.",
                self._files.curve,
                reason,
            )
        return picture

    def stopped(self, what: str, left: str) -> None:
        """Say at the node and in the log that the run ended early.

        what: a noun. left: of the work, as `kept` says it.
        """
        message = f"The {what} stopped after step {self.step}: {left}."
        logging.warning("Domain Guidance: %s", message)
        self._say(message, STATE)

    def done(self, what: str, files: RunFiles, next_step: str) -> None:
        """Say at the node and in the log what was made, where it is and what to do with it."""
        file = "/".join(files.result.parts[-3:])  # with its folder in the host's output
        message = f"The {what} has finished its {self.step} steps and saved '{file}'. {next_step}"
        logging.info("Domain Guidance: %s It is '%s'.", message, files.result)
        self._say(message, STATE)

    def _made(self, event: Step) -> None:
        self.step = event.step
        if event.step == self._first + 1:  # the first step warms up kernels and caches
            self._started = time.monotonic()
            left = ""
        else:
            pace = (time.monotonic() - self._started) / (event.step - self._first - 1)
            left = f", {_duration(pace * (self._steps - event.step))} left"
        self._say(f"Step {event.step} of {self._steps}{left}, {_memory()}, loss {event.loss:.4f}", STATE)
        self._bar.update_absolute(event.step)


def follow(events: Iterator[Event], progress: RunProgress) -> Finished:
    """Hear a run to its end; a Cancel is honoured after every event."""
    for event in events:
        progress.hear(event)
        if isinstance(event, Finished):
            return event
        comfy.model_management.throw_exception_if_processing_interrupted()
    raise RuntimeError("the run ended without a result")


def kept(files: RunFiles) -> str:
    """What is left of a run that was stopped, in words: what to do before where it lies."""
    if not files.state.exists():
        return "nothing was trained yet"
    return (
        f"your progress is saved, and Run continues it (with on_existing set to resume); its state is in "
        f"'{files.run_folder}'"
    )


def _memory() -> str:
    """What all programs together take of the device."""
    device = comfy.model_management.get_torch_device()
    total = comfy.model_management.get_total_memory(device)
    used = total - comfy.model_management.get_free_memory(device)
    return f"{used / 2**30:.1f} of {total / 2**30:.1f} GB memory in use"


def _stacked(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """Two pictures in one, both as wide as the lower."""
    height = round(upper.height * lower.width / upper.width)
    both = Image.new("RGB", (lower.width, height + lower.height))
    both.paste(upper.resize((lower.width, height)), (0, 0))
    both.paste(lower, (0, height))
    return both


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
