"""What the world draws so far: a picture to look at while the training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ..diffusers_host.denoiser import DiffusersDenoiser
from ..diffusion import sampling
from ..diffusion.denoiser import Denoiser
from ..diffusion.noise_schedule import scaled_linear
from ..guidance import Term, compose
from ..pictures.labelled_grid import Row, labelled_grid
from ..side_networks import SideGuidedDenoiser, SideNetwork, make_network, shape_for
from . import checkpoints
from .autoencoder import build_autoencoder, decode, encode
from .domains import WEIGHT
from .drawings import read_drawings
from .model import CHANNELS, LATENT_SIZE, PREDICTION, Base
from .prompts import encode_prompt
from .scenes import lay
from .things import DOMAINS, GROUNDS, HANDS, ON_WHITE, THINGS

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

STEPS = 20
CFG = 2.0
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
    """Rows of drawings as they are and as the autoencoder gives them back, then of what the base draws in each hand.

    Raises FileNotFoundError before the autoencoder's first checkpoint.
    """
    autoencoder = build_autoencoder()
    if (folder / checkpoints.AUTOENCODER).exists():
        autoencoder = checkpoints.load_autoencoder(folder)
    elif not averaged(autoencoder, folder, "autoencoder"):
        raise FileNotFoundError(f"'{folder}' has no autoencoder yet: run the train command until its first checkpoint.")
    rows = _given_back(folder, autoencoder, words)
    base = Base()
    if averaged(base, folder, "base"):
        rows += [Row(f"base, {hand}", [], _drawn(base, autoencoder, words, hand)) for hand in HANDS]
        rows += _in_domains(folder, base, autoencoder, words)
    return labelled_grid(rows, list(words))


def _given_back(folder: Path, autoencoder: AutoencoderTiny, words: Sequence[str]) -> list[Row]:
    drawn, things = read_drawings(folder / checkpoints.DRAWINGS), [list(THINGS).index(word) for word in words]
    rows = []
    for hand in (*HANDS, *DOMAINS):
        grounds = torch.arange(len(words)) % len(GROUNDS) if hand != ON_WHITE else torch.zeros(len(words)).long()
        images = lay(drawn[hand][things], grounds, torch.Generator().manual_seed(SEED))
        rows.append(Row(f"{hand}, as drawn", [], images))
        rows.append(Row("given back", [], decode(autoencoder, encode(autoencoder, images))))
    return rows


def _in_domains(folder: Path, base: Base, autoencoder: AutoencoderTiny, words: Sequence[str]) -> list[Row]:
    """What the domains that are trained make of the same words, with the hand left open."""
    rows = []
    for hand in DOMAINS:
        network = make_network(shape_for(CHANNELS, LATENT_SIZE, LATENT_SIZE), 0)
        if averaged(network, folder, hand):
            rows.append(Row(f"base and {hand}", [], _drawn(base, autoencoder, words, None, network)))
    return rows


def _drawn(
    base: Base,
    autoencoder: AutoencoderTiny,
    words: Sequence[str],
    hand: str | None,
    network: SideNetwork | None = None,
) -> Tensor:
    schedule, grounds = scaled_linear(), list(GROUNDS)
    asked = torch.cat(
        [
            encode_prompt(base.table, word, hand, None if network else grounds[place % len(grounds)])
            for place, word in enumerate(words)
        ]
    )
    noise = torch.randn(len(words), CHANNELS, LATENT_SIZE, LATENT_SIZE, generator=torch.Generator().manual_seed(SEED))
    denoiser = DiffusersDenoiser(base.unet, schedule, PREDICTION)
    guided = partial(_guided, denoiser, asked, encode_prompt(base.table), network)
    return decode(autoencoder, sampling.draw(guided, noise, schedule, STEPS))


def _guided(
    denoiser: Denoiser[Tensor],
    asked: Tensor,
    empty: Tensor,
    network: SideNetwork | None,
    x: Tensor,
    sigma: Tensor,
) -> Tensor:
    if network is None:
        start = denoiser(x, sigma, empty)
        return compose(start, [Term(denoiser(x, sigma, asked), start, CFG)])
    return SideGuidedDenoiser(denoiser, network, PREDICTION, empty, WEIGHT, CFG)(x, sigma, asked)
