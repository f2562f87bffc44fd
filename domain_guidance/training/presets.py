"""How long and how carefully a domain is trained, as one choice.

All presets take the same number of images a step, so a longer one goes on from a shorter one's state. Their footing is
docs/evidence.md, counted in images: without a single GPU run, images seen are all that carries over from there.
"""

from __future__ import annotations

from collections.abc import Mapping

# The lowest held-out loss of 25 pictures came after 3,200 to 4,800 images; a domain of 1,200 was trained on 19,200.
TRAINING_PRESETS: Mapping[str, Mapping[str, int]] = {
    "quick look": {"steps": 250, "batch_size": 1, "accumulation": 4, "evaluate_every": 50, "preview_every": 50},
    "good": {"steps": 1000, "batch_size": 1, "accumulation": 4, "evaluate_every": 50, "preview_every": 100},
    "best": {"steps": 5000, "batch_size": 1, "accumulation": 4, "evaluate_every": 100, "preview_every": 250},
}
