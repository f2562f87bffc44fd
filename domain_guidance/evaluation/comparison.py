"""One set of pictures compared with another, from the pictures to measures, words, a picture and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..data import Pictures, because, remark_sentences
from ..files.atomic_file import replacing
from ..pictures.pixels import as_picture
from .embedding import Embedded, Encoder, embed
from .measures import FEWEST, Measures, as_json, measure
from .measures_picture import COLUMNS, Pair, draw_measures
from .words import describe


@dataclass(frozen=True)
class Comparison:
    """The measures of samples against a reference, in every form they are shown in.

    embedded: the features of the samples. text: one statement per line. picture: see `draw_measures`. facts: JSON
    values.
    """

    measures: Measures
    embedded: Embedded
    text: str
    picture: Image.Image
    facts: dict[str, Any]


def compare(
    samples: Pictures,
    reference: Pictures,
    encoder: Encoder,
    *,
    neighbours: int = 3,
    seed: int = 0,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    done: Callable[[int], None] = lambda count: None,
    check: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compare pictures with a reference.

    done: told how many pictures of both sets were read so far; check: called between the measures, see `measure`; both
    may raise.
    device: of the measures' arithmetic, float64. Raises ValueError, one sentence, for fewer than 2 pictures of either.
    """
    if min(len(samples), len(reference)) < FEWEST:
        raise ValueError(
            f"There are {len(samples)} images and {len(reference)} reference images, but a comparison takes at least "
            f"{FEWEST} of each: give more."
        )
    ours = embed(samples, encoder, batch_size=batch_size, done=done)
    theirs = embed(reference, encoder, batch_size=batch_size, done=lambda count: done(len(samples) + count))
    measures = measure(
        ours.features.to(device), theirs.features.to(device), neighbours=neighbours, seed=seed, check=check
    )
    found = [
        (ours.places[number], theirs.places[place], distance)
        for number, (place, distance) in enumerate(
            zip(measures.nearest.index.tolist(), measures.nearest.distance.tolist())
        )
    ]
    pairs = [
        Pair(as_picture(samples.load(a)), as_picture(reference.load(b)), distance)
        for a, b, distance in (found[n] for n in measures.closest(COLUMNS))
    ]
    facts = as_json(measures) | {
        "encoder": encoder.name,
        "seed": seed,
        "nearest": [
            {"image": samples.name(a), "reference": reference.name(b), "distance": round(distance, 6)}
            for a, b, distance in found
        ],
    }
    text = "\n".join([describe(measures, encoder.name), *_losses("images", ours), *_losses("reference images", theirs)])
    return Comparison(measures, ours, text, draw_measures(measures, pairs, encoder.name), facts)


def _losses(what: str, embedded: Embedded) -> list[str]:
    """What of the given pictures was not compared, a statement each."""
    skipped = embedded.skipped
    count = [f"Left out of the {what}, {len(skipped)} in all: {because(skipped)}."] if skipped else []
    return [*count, *remark_sentences(embedded.remarks)]


def write_json(path: str | os.PathLike, facts: dict[str, Any], *, free: bool = False) -> None:
    """Writes the file and its folder, whole or not at all. free: as in `replacing`. Raises OSError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, free=free) as part:
        # What of a name is not UTF-8 Python holds as lone surrogates. They are escaped as JSON itself would, and read
        # back as the same name.
        text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
