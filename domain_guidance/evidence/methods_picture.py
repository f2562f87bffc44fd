"""The methods side by side, as one picture."""

from __future__ import annotations

from PIL.Image import Image

from ..pictures.labelled_grid import Row, labelled_grid
from ..toy_world.comparison import every_prompt, held_out_as_asked
from ..toy_world.evaluation import shown
from ..toy_world.methods import METHODS
from ..toy_world.prompts import Prompts
from ..toy_world.scenes import STROKES
from .cells import draw
from .jobs import NOISE
from .plan import LARGEST
from .results import Entry, Results
from .tables import measured, number, percent, words
from .worlds import Workshop

COLUMNS = 10
ROWS = (
    "base",
    "fine-tune",
    "LoRA",
    "AutoGuidance",
    "DoG",
    "decoupled",
    "decoupled, empty prompt",
    "decoupled, adapter",
)
TITLES = {
    "AutoGuidance": "AutoGuidance",
    "DoG": "DoG",
    "decoupled": "decoupled",
    "decoupled, empty prompt": "decoupled, fine-tune",
    "decoupled, adapter": "decoupled, LoRA",
}


def draw_picture(workshop: Workshop, results: Results) -> Image:
    """Draw one row for each method, at its best weights, of the first training seed.

    Prompt and noise are the same down each column.
    """
    asked, seed = _asked(), results.plan["seeds"][0]
    rows = [Row("real, from the domain", [], held_out_as_asked(asked))]
    for name in ROWS:
        size = 0 if name == "base" else LARGEST
        world = workshop.world(METHODS[name].needs, size, seed)
        images = draw(world, METHODS[name].build(world, **results.chosen(name, size)), asked, NOISE + seed)
        rows.append(Row(TITLES.get(name, name), _lines(measured(results, name, LARGEST)[0]), images))
    strokes = list(STROKES)
    columns = [f"{strokes[stroke]} {digit}" for stroke, digit in zip(asked.stroke.tolist(), asked.digit.tolist())]
    return labelled_grid(
        rows, columns, cell=72, footer=f"Same prompts and noise in each column. Numbers: training seed {seed}."
    )


def _asked() -> Prompts:
    everything, places = every_prompt(1), shown(COLUMNS)
    return Prompts(everything.digit[places], everything.stroke[places], everything.ground[places])


def _lines(found: Entry) -> list[str]:
    return [words(found["weights"]), f"digit {percent(found['digit'])}, distance {number(found['distance'])}"]
