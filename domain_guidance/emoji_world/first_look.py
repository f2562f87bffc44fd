"""The picture that shows at one glance what the pack is for: the same things by the base and in two domains."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from PIL import Image
from torch import Tensor

from ..pictures.labelled_grid import Row, labelled_grid
from .checkpoints import FOLDER, load_domain
from .domains import CFG, into
from .drawing import Artist, Guidance, draw, load_artist
from .model import IMAGE_SIZE
from .prompts import encode_each, encode_on_grounds
from .sheet import read_examples
from .things import ASKED_STYLE, DOMAINS, ON_WHITE

WORDS = ("panda", "apple", "peach", "cheese", "tree", "fire", "lock", "alien")  # all held out
SEED = 8
STYLE = "flat"  # of the base
TITLES = {"base": "Without a domain", "ink": "With the domain “ink”", "glossy": "With the domain “glossy”"}
DRAWN, TRAINED = "Drawn by the base model.", "Trained on drawings like these:"


def first_look(folder: str | os.PathLike = FOLDER, words: Sequence[str] = WORDS) -> Image.Image:
    """A row of the base and one of each domain, with what that was trained on; a column for each word."""
    drawn, examples = drawn_rows(folder, words), read_examples()
    rows = [Row(TITLES["base"], [DRAWN], drawn["base"])]
    rows += [Row(TITLES[hand], [TRAINED], drawn[hand], list(examples[hand])) for hand in DOMAINS]
    return labelled_grid(rows, words, cell=2 * IMAGE_SIZE)


def drawn_rows(folder: str | os.PathLike = FOLDER, words: Sequence[str] = WORDS) -> dict[str, Tensor]:
    """Pictures [N, 3, 64, 64] in [-1, 1] of the words by the `base` and in each domain, from one noise."""
    artist = load_artist(folder)
    rows = {"base": draw(artist, encode_on_grounds(artist.table, words, STYLE), Guidance(CFG), SEED)}
    return rows | {hand: _in_domain(artist, hand, folder, words) for hand in DOMAINS}


def _in_domain(artist: Artist, hand: str, folder: str | os.PathLike, words: Sequence[str]) -> Tensor:
    encode = partial(encode_each, ground=None) if hand == ON_WHITE else encode_on_grounds
    asked = encode(artist.table, words, ASKED_STYLE[hand])
    return draw(artist, asked, into(hand, load_domain(hand, folder).network), SEED)
