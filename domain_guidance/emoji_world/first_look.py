"""The picture that shows at one glance what the pack is for: the same things by the base and in two domains."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from ..pictures.labelled_grid import Row, labelled_grid
from .checkpoints import load_domain
from .domains import CFG, WEIGHTS
from .drawing import Guidance, Lead, draw, load_artist
from .model import IMAGE_SIZE, LATENT_SIZE
from .prompts import encode_each

WORDS = ("cat", "elephant", "turtle", "apple", "hamburger", "rose", "car", "house", "camera", "ghost")  # all held out
SEED = 3


def first_look(folder: str | os.PathLike, words: Sequence[str] = WORDS) -> Image.Image:
    """A row each of the base, of both domains, and of both on one picture; a column for each word."""
    titles = {
        "base": ("The base model",),
        "ink": ("With the domain “ink”",),
        "glossy": ("With the domain “glossy”",),
        "both": ("Half ink, half glossy", "two domains with masks"),
    }
    drawn = drawn_rows(folder, words)
    rows = [Row(title, lines, drawn[name]) for name, (title, *lines) in titles.items()]
    return labelled_grid(rows, words, cell=2 * IMAGE_SIZE)


def drawn_rows(folder: str | os.PathLike, words: Sequence[str] = WORDS) -> dict[str, Tensor]:
    """Pictures [N, 3, 64, 64] in [-1, 1] of the words by the `base`, in `ink`, `glossy`, and half in `both`."""
    artist = load_artist(folder)
    ink, glossy = (load_domain(hand, folder).network for hand in ("ink", "glossy"))
    left = torch.zeros(1, 1, LATENT_SIZE, LATENT_SIZE)
    left[..., : LATENT_SIZE // 2] = 1.0
    leads = {
        "base": [],
        "ink": [Lead(ink, WEIGHTS["ink"])],
        "glossy": [Lead(glossy, WEIGHTS["glossy"])],
        "both": [Lead(ink, WEIGHTS["ink"], left), Lead(glossy, WEIGHTS["glossy"], 1 - left)],
    }
    asked = encode_each(artist.table, words, None, None)
    return {name: draw(artist, asked, Guidance(CFG, led), SEED) for name, led in leads.items()}
