"""What a user sees while a generator is adapted: the source's pictures above the adapted generator's, seed for seed."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from ....domain_guidance.adaptation import AdaptationSettings, AdaptedPair, comparison_picture
from ....domain_guidance.memory.estimate import readable
from ....domain_guidance.runs import Event, Prepared, RunFiles
from ..run_progress import RunProgress

SMALL = 256  # pixels; of generators up to it more seeds are shown
SEEDS, MORE_SEEDS = range(4), range(8)


class AdaptationProgress(RunProgress):
    """Hears the events of one adaptation."""

    def begin(self, pair: AdaptedPair, files: RunFiles, settings: AdaptationSettings, judges: int) -> None:
        """Called when everything is loaded and the first step is about to begin.

        judges: bytes of the critic and its VAE, which the host keeps on the device as far as there is room.
        """
        self.begin_run(files, settings.steps)
        self._pair, self._judges = pair, judges

    def hear(self, event: Event) -> None:
        if isinstance(event, Prepared):
            event = replace(event, message=f"{event.message} The critic and its VAE take {readable(self._judges)}.")
        super().hear(event)

    def drawn(self, step: int) -> Image.Image:
        return self.comparison()

    def comparison(self) -> Image.Image:
        """At truncation 0.7, the paper's for pictures that are looked at."""
        return comparison_picture(self._pair, MORE_SEEDS if self._pair.config.resolution <= SMALL else SEEDS)
