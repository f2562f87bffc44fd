"""What a user sees while a domain trains: bar, the time left, and preview pictures above the curves."""

from __future__ import annotations

import logging

import comfy.utils
from PIL import Image

from ....domain_guidance.data import CachedLatents, Encoded
from ....domain_guidance.runs import Evaluated, Event, OneProcess, RunFiles
from ....domain_guidance.training import RunSettings
from ..node_text import STATE
from ..run_progress import RunProgress
from .preview import as_cover, draw, picture_of
from .result_file import PICTURES_STEP
from .trainable import HostTrainable
from .vae_posterior import Posteriors


class TrainingProgress(RunProgress):
    """Hears the events of one training."""

    _left_out = 0  # images

    def encoded(self, event: Encoded) -> None:
        if event.done < event.total:
            self._say(f"Encoded {event.done} of {event.total} images", STATE)
        comfy.utils.ProgressBar(event.total).update_absolute(event.done)

    def encoding_stopped(self) -> None:
        self._say(
            "Cancelled while images were being encoded. Those already encoded are kept, and Run continues from there.",
            STATE,
        )

    def left_out(self, name: str, reason: str) -> None:
        """Say which images are not used: in the log each, at the node the last one and how many there are."""
        logging.warning("Domain Guidance: '%s' is left out, because %s.", name, reason)
        self._left_out += 1
        others = "" if self._left_out == 1 else f" {self._left_out} images are left out; the log names each."
        self._say(f"'{name}' is left out, because {reason}.{others}", "left out")

    def begin(
        self,
        trainable: HostTrainable,
        latents: CachedLatents,
        posteriors: Posteriors,
        files: RunFiles,
        settings: RunSettings,
    ) -> None:
        self.begin_run(files, settings.steps)
        self._trainable, self._posteriors = trainable, posteriors
        self._process = OneProcess(settings.precision, trainable.device.type)
        self._bucket = latents.commonest_bucket
        earlier = [path for path in (files.result, files.best) if files.state.exists() and path.exists()]
        if earlier:
            trainable.result.keep_pictures(earlier[0])

    def hear(self, event: Event) -> None:
        super().hear(event)
        if isinstance(event, Evaluated):
            logging.info(
                "Domain Guidance: step %d, loss on training images %.4f, on held-out images %.4f.",
                event.step,
                event.train,
                event.held_out,
            )
            if event.memorising:
                logging.warning("Domain Guidance: %s", event.memorising)
            self._say(event.memorising, "memorising")
            self.show(event.step)

    def drawn(self, step: int) -> Image.Image:
        """With the averaged weights, which the module holds at this moment."""
        with self._process.arithmetic():
            latents = draw(self._trainable, self._bucket)
        picture = picture_of(latents, self._trainable.latent_format, self._posteriors)
        self._trainable.result.covers = (as_cover(picture),)
        self._trainable.notes[PICTURES_STEP] = step
        return picture
