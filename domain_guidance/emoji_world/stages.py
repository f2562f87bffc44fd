"""The stages of making the emoji world's weights, all through the one training loop.

Every stage reads what earlier ones wrote to the folder, goes on from its own last checkpoint there, and ends with one
file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from .. import runs
from ..diffusion.noise_schedule import scaled_linear
from ..files.atomic_file import save_tensors
from ..runs import Settings
from ..training import Batch, min_snr, noise_objective
from . import autoencoder as autoencoders
from . import checkpoints
from .autoencoder import decode, encode
from .base_pictures import BasePictures, paint_base
from .domains import make_domain
from .drawings import read_drawings
from .judge import Judge, judge_objective, paint_every_hand
from .model import CELL, IMAGE_SIZE, PREDICTION, Base
from .prompts import forget_slots
from .scenes import lay
from .things import DOMAINS, GROUNDS, HANDS, THINGS, shown

AUTOENCODER = Settings(
    steps=12000, learning_rate=1e-3, warmup=100, cosine=True, weight_decay=1e-3, seed=1, checkpoint_every=100
)
AUTOENCODER_BATCH = 8
CROP = 32  # pixels along the side of what the autoencoder mostly learns from: steps count for more than area
WHOLE_SHARE = 0.1  # of the autoencoder's steps that see whole pictures, half as many
DECODER = Settings(
    steps=12000, learning_rate=5e-4, warmup=100, cosine=True, weight_decay=1e-3, seed=3, checkpoint_every=100
)
JUDGE = Settings(steps=6000, learning_rate=2e-3, warmup=50, cosine=True, seed=4, checkpoint_every=250)
JUDGE_BATCH = 64
BASE = Settings(steps=30000, learning_rate=2e-3, warmup=300, cosine=True, seed=2, checkpoint_every=200)
BASE_BATCH = 64
VARIANTS = 3  # placements of each drawing on each ground
FORGET_WHOLE = 0.10
FORGET_SLOTS = (0.05, 0.25, 0.25)  # thing, hand, ground: beside a domain, prompts leave the hand open
SNR_CAP = 5.0
DOMAIN_SHARE = 0.4  # of the autoencoder's pictures that are of the domains' shown halves
PICTURED = 512  # pictures that say what colours the latents' channels stand for
PLAIN_SHARE = 0.5  # of the autoencoder's pictures that lie on a colour without a name


def make_autoencoder(folder: Path, settings: Settings = AUTOENCODER) -> None:
    """The autoencoder, on all of the base's drawings and on those that the domains are shown."""
    pool = everything(read_drawings(folder / checkpoints.DRAWINGS))

    def paint(generator: torch.Generator) -> Tensor:
        if torch.rand((), generator=generator) < WHOLE_SHARE:
            return paint_anything(pool, AUTOENCODER_BATCH // 2, generator)
        return cropped(paint_anything(pool, AUTOENCODER_BATCH, generator), CROP, generator)

    torch.manual_seed(settings.seed)
    autoencoder = autoencoders.build_autoencoder()
    runs.train_to_the_end(
        autoencoder, autoencoders.objective(autoencoder, paint), settings, folder / "autoencoder.state"
    )
    checkpoints.write_autoencoder(autoencoder, folder)


def make_base(folder: Path, settings: Settings = BASE) -> None:
    """The text-conditional base: things in hands on grounds, and prompts of which parts are forgotten."""
    pictures = _base_pictures(folder)

    def data(generator: torch.Generator) -> Batch:
        chosen = torch.randint(len(pictures), (BASE_BATCH,), generator=generator)
        asked = forget_slots(pictures.prompts(chosen), FORGET_WHOLE, FORGET_SLOTS, generator)
        return Batch(pictures.latents[chosen], asked)

    torch.manual_seed(settings.seed)
    base = Base()
    objective = noise_objective(base.predict, data, scaled_linear(), PREDICTION, min_snr(SNR_CAP, PREDICTION))
    runs.train_to_the_end(base, objective, settings, folder / "base.state")
    checkpoints.write_base(base, _colours(folder, pictures), folder)


def make_vae(folder: Path, settings: Settings = DECODER) -> None:
    """The autoencoder's decoder, trained on with whole pictures; the encoder stays as the base knows it."""
    pool = everything(read_drawings(folder / checkpoints.DRAWINGS))
    autoencoder = checkpoints.load_autoencoder(folder)
    autoencoder.decoder.requires_grad_(True)

    def paint(generator: torch.Generator) -> Tensor:
        return paint_anything(pool, AUTOENCODER_BATCH, generator)

    objective = autoencoders.objective(autoencoder, paint)
    runs.train_to_the_end(autoencoder, objective, settings, folder / "decoder.state")
    checkpoints.write_vae(autoencoder, folder)


def make_judge(folder: Path, settings: Settings = JUDGE) -> None:
    """The judge, on every drawing; neither base nor domain learns from it."""
    drawn = read_drawings(folder / checkpoints.DRAWINGS)
    torch.manual_seed(settings.seed)
    judge = Judge()
    objective = judge_objective(judge, partial(paint_every_hand, drawn, JUDGE_BATCH))
    runs.train_to_the_end(judge, objective, settings, folder / "judge.state")
    judge.calibrate(paint_every_hand(drawn, 1000, runs.step_generator(settings.steps, settings.seed)).images)
    checkpoints.write_judge(judge, folder)


def cropped(pictures: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """One window [N, 3, side, side] of each picture, at places that are whole cells of the latent."""
    places = 1 + (IMAGE_SIZE - side) // CELL
    corners = CELL * torch.randint(places, (len(pictures), 2), generator=generator)
    windows = [picture[:, y : y + side, x : x + side] for picture, (y, x) in zip(pictures, corners.tolist())]
    return torch.stack(windows)


@torch.no_grad()
def _colours(folder: Path, pictures: BasePictures) -> Tensor:
    """What the latents' channels look like, from some of the pictures."""
    some = pictures.latents[:: -(-len(pictures) // PICTURED)]
    return autoencoders.colours_of(some, decode(checkpoints.load_autoencoder(folder), some))


def _base_pictures(folder: Path) -> BasePictures:
    """The base's pictures as latents, made once and kept beside the checkpoints."""
    file = folder / "pictures.state"
    if not file.exists():
        autoencoder = checkpoints.load_autoencoder(folder)
        encoded = paint_base(read_drawings(folder / checkpoints.DRAWINGS), VARIANTS, partial(encode, autoencoder))
        save_tensors(file, vars(encoded), {})
    return BasePictures(**load_file(file))


def everything(drawn: Mapping[str, Tensor]) -> Tensor:
    """What the autoencoder learns from [N, 4, 128, 128]: the base's drawings, then what the domains are shown."""
    return torch.cat([*(drawn[hand] for hand in HANDS), *(drawn[hand][shown()] for hand in DOMAINS)])


def paint_anything(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Pictures [N, 3, 64, 64] for the autoencoder, of `everything`: on any ground, half of them mirrored."""
    base = len(HANDS) * len(THINGS)
    from_domain = torch.rand(count, generator=generator) < DOMAIN_SHARE
    chosen = torch.where(
        from_domain,
        base + torch.randint(len(pool) - base, (count,), generator=generator),
        torch.randint(base, (count,), generator=generator),
    )
    grounds = torch.randint(len(GROUNDS), (count,), generator=generator)
    plain = torch.rand(count, 1, generator=generator) < PLAIN_SHARE
    named = torch.tensor(list(GROUNDS.values()))[grounds]
    colours = torch.where(plain, torch.rand(count, 3, generator=generator), named)
    pictures = lay(pool[chosen], grounds, generator, colours=colours)
    mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, pictures.flip(3), pictures)


STAGES = {
    checkpoints.AUTOENCODER: make_autoencoder,
    checkpoints.JUDGE: make_judge,
    checkpoints.BASE: make_base,
    **{checkpoints.domain_file(hand): partial(make_domain, hand) for hand in DOMAINS},
    checkpoints.VAE: make_vae,
}
