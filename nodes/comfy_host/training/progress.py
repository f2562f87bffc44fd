"""What a user sees while a domain trains: bar, the time left, and preview pictures above the curves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import comfy.utils
from PIL import Image

from ....domain_guidance.data import CachedLatents, Encoded
from ....domain_guidance.training import Evaluated, Event, OneProcess, Prepared, RunFiles, RunSettings, Sample, Step
from ....domain_guidance.training.curves import draw_curves
from .preview import as_cover, commonest_bucket, draw, picture_of
from .result_file import PICTURES_STEP
from .trainable import HostTrainable
from .vae_posterior import Posteriors

PREVIEW_SIDE = 512


class TrainingProgress:
    """Hears the events of one training. say: shows one line of text at the node."""

    def __init__(self, say: Callable[[str], None]):
        self._say, self._bar, self._picture = say, None, None
        self.step = 0

    def encoded(self, event: Encoded) -> None:
        if event.done < event.total:
            self._say(f"images encoded: {event.done} of {event.total}")
        comfy.utils.ProgressBar(event.total).update_absolute(event.done)

    def begin(self, trainable: HostTrainable, latents: CachedLatents, posteriors: Posteriors, files: RunFiles, settings: RunSettings) -> None:
        self._trainable, self._posteriors, self._files, self._steps = trainable, posteriors, files, settings.steps
        self._process = OneProcess(settings.precision, trainable.device.type)
        self._bucket = commonest_bucket(latents)
        self._bar = comfy.utils.ProgressBar(settings.steps)
        self._started, self._first = time.monotonic(), 0
        earlier = [path for path in (files.result, files.best) if files.state.exists() and path.exists()]
        if earlier:
            trainable.result.keep_pictures(earlier[0])

    def hear(self, event: Event) -> None:
        if isinstance(event, Prepared):
            self.step = self._first = event.step
            logging.info("Domain Guidance: %s", event.message)
            self._say(event.message)
        elif isinstance(event, Step):
            self._made(event)
        elif isinstance(event, Sample):
            self._show(event.step)
        elif isinstance(event, Evaluated):
            logging.info("Domain Guidance: step %d, loss on training images %.4f, on held-out ones %.4f.", event.step, event.train, event.held_out)
            if event.memorising:
                logging.warning("Domain Guidance: %s", event.memorising)
            self._look(event.step)

    def curves(self) -> Image.Image:
        picture = draw_curves(self._files.log)
        picture.save(self._files.curve)
        return picture

    def _made(self, event: Step) -> None:
        self.step = event.step
        if event.step == self._first + 1:  # the first step warms up kernels and caches
            self._started = time.monotonic()
            left = ""
        else:
            pace = (time.monotonic() - self._started) / (event.step - self._first - 1)
            left = f", {_duration(pace * (self._steps - event.step))} left"
        self._say(f"step {event.step} of {self._steps}, loss {event.loss:.4f}{left}")
        self._bar.update_absolute(event.step)

    def _show(self, step: int) -> None:
        """Draw with the averaged weights, which the module holds at this moment."""
        latent_format = self._trainable.latent_format
        with self._process.arithmetic():
            drawn = draw(self._trainable, self._bucket)
        picture = picture_of(drawn, latent_format, self._posteriors)
        self._trainable.result.covers = (as_cover(picture),)
        self._trainable.notes[PICTURES_STEP] = step
        self._picture = picture
        self._look(step)

    def _look(self, step: int) -> None:
        """The newest pictures, where any are drawn, above the curves so far."""
        curves = draw_curves(self._files.log)
        self._bar.update_absolute(step, self._steps, ("JPEG", _stacked(self._picture, curves) if self._picture else curves, PREVIEW_SIDE))


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
