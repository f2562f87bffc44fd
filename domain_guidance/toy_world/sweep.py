"""Each method at several weights, on other noise than the demo's: what `comparison.BEST` was chosen from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from .comparison import METHODS, ToyModels, every_prompt, held_out_domain, sample, score

SEED = 90210
REPEATS = 2
CFGS = (1.5, 2.0, 3.0, 4.0, 6.0)
GRID = {
    "base": [{"cfg": cfg} for cfg in CFGS],
    "fine-tune": [{"cfg": cfg} for cfg in CFGS],
    "DoG": [{"cfg": cfg} for cfg in CFGS],
    "decoupled": [{"cfg": cfg, "weight": weight} for cfg, weight in product((2.0, 3.0, 4.0), (1.0, 1.5, 2.0, 2.5))],
}


def lines(models: ToyModels) -> Iterator[str]:
    """One line per method and setting: what was read as asked, and the distance to the held-out domain."""
    asked, reference = every_prompt(REPEATS), held_out_domain(1000).images
    for name, settings in GRID.items():
        for chosen in settings:
            images = sample(models, METHODS[name](models, **chosen), asked, SEED)
            found = score(models, images, asked, reference)
            wish = ", ".join(f"{key} {value:g}" for key, value in chosen.items())
            yield f"{name:10} {wish:18} digit {found.digit:.0%}  colour {found.stroke:.0%}  distance {found.distance:.3f}"
