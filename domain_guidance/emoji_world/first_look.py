"""The picture that shows at one glance what the pack is for: the same things by the base and in two domains."""

from __future__ import annotations

import os
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from ..pictures.labelled_grid import Row, labelled_grid
from .checkpoints import FOLDER, load_domain
from .domains import CFG, WEIGHTS
from .drawing import Guidance, Lead, draw, load_artist
from .model import IMAGE_SIZE
from .prompts import encode_each
from .things import DOMAINS

WORDS = ("cat", "elephant", "turtle", "apple", "hamburger", "rose", "car", "house", "camera", "ghost")  # all held out
SEED = 7
TITLES = {"base": "The base model", "ink": "With the domain “ink”", "glossy": "With the domain “glossy”"}


def first_look(folder: str | os.PathLike = FOLDER, words: Sequence[str] = WORDS) -> Image.Image:
    """A row of the base and one of each domain; a column for each word."""
    rows = [Row(TITLES[name], [], images) for name, images in drawn_rows(folder, words).items()]
    return labelled_grid(rows, words, cell=2 * IMAGE_SIZE)


def drawn_rows(folder: str | os.PathLike = FOLDER, words: Sequence[str] = WORDS) -> dict[str, Tensor]:
    """Pictures [N, 3, 64, 64] in [-1, 1] of the words by the `base` and in each domain, from one noise."""
    artist = load_artist(folder)
    leads = {hand: [Lead(load_domain(hand, folder).network, WEIGHTS[hand])] for hand in DOMAINS}
    asked = encode_each(artist.table, words, None, None)
    return {name: draw(artist, asked, Guidance(CFG, leads.get(name, [])), SEED) for name in ("base", *DOMAINS)}
