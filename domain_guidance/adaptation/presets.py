"""How long a generator is adapted, as one choice.

All presets take the same number of pictures a step, so a longer one goes on from a shorter one's state.
"""

from __future__ import annotations

from collections.abc import Mapping

# arXiv 2212.04473 takes 1,001 steps of one picture for faces and 2,001 for cats; a quarter of that shows the direction.
ADAPTATION_PRESETS: Mapping[str, Mapping[str, int]] = {
    "quick look": {"steps": 250, "batch_size": 1, "accumulation": 1, "preview_every": 25},
    "good": {"steps": 1000, "batch_size": 1, "accumulation": 1, "preview_every": 25},
    "best": {"steps": 2000, "batch_size": 1, "accumulation": 1, "preview_every": 50},
}
