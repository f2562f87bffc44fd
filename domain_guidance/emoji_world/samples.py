"""What the world draws so far: a picture to look at while the training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ..pictures.labelled_grid import Row, labelled_grid
from ..side_networks import make_network, shape_for
from . import checkpoints
from .domains import CFG, into
from .drawing import Artist, Guidance, draw
from .drawings import read_drawings
from .model import CHANNELS, LATENT_SIZE, Base
from .patch_code import PatchCode
from .prompts import encode_each, encode_on_grounds
from .scenes import lay
from .stages import BASE, base_state
from .things import ASKED_STYLE, DOMAINS, GROUNDS, HANDS, ON_WHITE, STYLES, THINGS

SEED = 7
WORDS = ("cat", "owl", "fish", "apple", "hamburger", "strawberry", "car", "rocket", "house", "guitar", "crown", "robot")


def averaged(module: nn.Module, folder: Path, name: str) -> bool:
    """Give a module the averaged weights of a stage, finished or not; False before its first checkpoint."""
    file = folder / f"{name}.state"
    if not file.exists():
        return False
    kept = {key.removeprefix("average."): value for key, value in load_file(file).items() if key.startswith("average.")}
    module.load_state_dict(kept, strict=False)
    module.eval().requires_grad_(False)
    return True


@torch.no_grad()
def picture(folder: Path, words: Sequence[str] = WORDS) -> Image.Image:
    """Rows of drawings as they are and as their code gives them back, then of what the base draws in each hand."""
    code = checkpoints.load_code(folder)
    rows = _given_back(folder, code, words)
    base = Base()
    if any(averaged(base, folder, base_state(number)) for number in reversed(range(len(BASE)))):
        artist = Artist(base.unet, base.table, code)
        rows += [Row(f"base, {hand or 'any hand'}", [], _by_hand(artist, words, hand)) for hand in (*STYLES, None)]
        rows += _in_domains(folder, artist, words)
    return labelled_grid(rows, list(words))


def _given_back(folder: Path, code: PatchCode, words: Sequence[str]) -> list[Row]:
    drawn, things = read_drawings(folder / checkpoints.DRAWINGS), [list(THINGS).index(word) for word in words]
    rows = []
    for hand in (*HANDS, *DOMAINS):
        grounds = torch.arange(len(words)) % len(GROUNDS) if hand != ON_WHITE else torch.zeros(len(words)).long()
        images = lay(drawn[hand][things], grounds, torch.Generator().manual_seed(SEED))
        rows.append(Row(f"{hand}, as drawn", [], images))
        rows.append(Row("given back", [], code.decode(code.encode(images))))
    return rows


def _in_domains(folder: Path, artist: Artist, words: Sequence[str]) -> list[Row]:
    """What the domains that are trained make of the same words."""
    rows = []
    for hand in DOMAINS:
        network = make_network(shape_for(CHANNELS, LATENT_SIZE, LATENT_SIZE), 0)
        if averaged(network, folder, hand):
            asked = encode_each(artist.table, words, ASKED_STYLE[hand], None)
            rows.append(Row(f"base and {hand}", [], draw(artist, asked, into(hand, network), SEED)))
    return rows


def _by_hand(artist: Artist, words: Sequence[str], hand: str | None) -> Tensor:
    return draw(artist, encode_on_grounds(artist.table, words, hand), Guidance(CFG), SEED)
