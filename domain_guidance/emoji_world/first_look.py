"""The picture that shows at one glance what the pack is for: the same things by the base and in two domains."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from PIL import Image

from ..pictures.labelled_grid import Row, labelled_grid
from .checkpoints import FOLDER, load_domain
from .domains import CFG, WEIGHT
from .drawing import Artist, Guidance, Lead, draw, load_artist
from .model import LATENT_SIZE
from .prompts import encode_each

WORDS = ("cat", "elephant", "turtle", "apple", "hamburger", "rose", "car", "house", "camera", "ghost")  # all held out
SEED = 3


def first_look(folder: str | os.PathLike = FOLDER, words: Sequence[str] = WORDS) -> Image.Image:
    """A row each of the base, of both domains, and of both on one picture; a column for each word."""
    artist = load_artist(folder)
    ink, glossy = (load_domain(hand, folder).network for hand in ("ink", "glossy"))
    left = torch.zeros(1, 1, LATENT_SIZE, LATENT_SIZE)
    left[..., : LATENT_SIZE // 2] = 1.0
    rows = {
        ("The base model",): [],
        ("With the domain “ink”",): [Lead(ink, WEIGHT)],
        ("With the domain “glossy”",): [Lead(glossy, WEIGHT)],
        ("Half ink, half glossy", "two domains with masks"): [Lead(ink, WEIGHT, left), Lead(glossy, WEIGHT, 1 - left)],
    }
    return labelled_grid(
        [Row(title, lines, _drawn(artist, words, leads)) for (title, *lines), leads in rows.items()], words
    )


def _drawn(artist: Artist, words: Sequence[str], leads: Sequence[Lead]) -> torch.Tensor:
    return draw(artist, encode_each(artist.table, words, None, "white"), Guidance(CFG, leads), SEED)
