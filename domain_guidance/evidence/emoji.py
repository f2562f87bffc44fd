"""The methods side by side in the emoji world, on things that a domain was never shown.

Of these things the domain's own drawings exist all the same, so a picture can be held against the right one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from ..diffusers_host.denoiser import DiffusersDenoiser
from ..diffusers_host.trained_file import load_trained
from ..diffusion.denoiser import Denoiser
from ..diffusion.noise_schedule import scaled_linear
from ..diffusion.parameterization import Prediction
from ..diffusion.sampling import sample_dpmpp_2m
from ..domains.training_forms import ADAPTER, SIDE_NETWORK
from ..emoji_world import checkpoints
from ..emoji_world.drawing import Artist, draw_by, load_artist
from ..emoji_world.evaluation import DomainScore, judged, task
from ..emoji_world.judge import Judge
from ..emoji_world.model import PREDICTION
from ..emoji_world.prompts import encode_prompt
from ..side_networks import SideNetwork, read_side_file
from ..toy_world.methods import METHODS, Method, Weights, beside, contrast

STEPS = 20
# As many settings for every method.
CFGS: Sequence[Weights] = [{"cfg": cfg} for cfg in (1.25, 1.5, 2.0, 3.0, 4.0, 6.0)]
BOTH: Sequence[Weights] = [{"cfg": cfg, "weight": weight} for cfg, weight in product((1.25, 2.0, 3.0), (2.0, 3.0))]
SIDE = replace(METHODS["side network"], grid=BOTH)
COMPARED: Mapping[str, Method] = {
    **{name: replace(METHODS[name], grid=CFGS) for name in ("base", "fine-tune", "LoRA", "DoG")},
    "asymmetric LoRA": Method(
        "LoRA for the prompt alone (asymmetric)",
        (ADAPTER,),
        partial(contrast, of=ADAPTER, against="base"),
        CFGS,
    ),
    "decoupled": replace(METHODS["decoupled"], grid=BOTH),
    "side network": SIDE,
    "side network, prompted": replace(
        SIDE, title="decoupled, side network on the prompt's answer", build=partial(beside, reads_prompt=True)
    ),
}


@dataclass(frozen=True)
class World:
    """The base, and a domain in every form of training, as `toy_world.methods.Models`."""

    artist: Artist
    models: Mapping[str, Denoiser[Tensor]]
    side: SideNetwork | None

    @property
    def prediction(self) -> Prediction:
        return PREDICTION

    @property
    def empty(self) -> Tensor:
        """The empty prompt, [1, 4, 64]."""
        return encode_prompt(self.artist.table)


def read_world(folder: Path, files: Mapping[str, Path]) -> World:
    """The base of a folder, with the trained files of these forms."""
    artist, schedule = load_artist(folder), scaled_linear()
    models = {"base": DiffusersDenoiser(artist.unet, schedule, PREDICTION)}
    for form in (name for name in files if name != SIDE_NETWORK):
        unet, _ = checkpoints.load_base(folder)
        load_trained(files[form], unet)
        models[form] = DiffusersDenoiser(unet, schedule, PREDICTION)
    side = files.get(SIDE_NETWORK)
    return World(artist, models, side and read_side_file(side).network)


@torch.no_grad()
def score(
    world: World,
    judge: Judge,
    drawn: Mapping[str, Tensor],
    hand: str,
    denoiser: Denoiser[Tensor],
    seed: int,
    repeats: int,
) -> DomainScore:
    """Draw a domain's task by a method and judge it. drawn: of `read_drawings`."""
    given = task(hand, repeats)
    images = draw_by(denoiser, world.artist.code, given.encoded(world.artist.table), seed, STEPS, sample_dpmpp_2m)
    return judged(judge, drawn, given, images, seed)
