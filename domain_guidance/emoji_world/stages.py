"""The stages of making the emoji world's weights, all through the one training loop.

Every stage reads what earlier ones wrote to the folder, goes on from its own last checkpoint there, and ends with one
file. The code is computed, everything else is trained.
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
from . import checkpoints
from .base_pictures import BasePictures, paint_base
from .domains import make_domain
from .drawings import read_drawings
from .judge import Judge, judge_objective, paint_every_hand
from .model import PREDICTION, Base
from .patch_code import fit
from .prompts import forget_slots
from .scenes import lay
from .things import DOMAINS, GROUNDS, HANDS, THINGS, shown

CODE_SEED = 1
CHUNK = 400
CODED = 4000  # pictures that the latents' code is found from
JUDGE = Settings(steps=6000, learning_rate=2e-3, warmup=50, cosine=True, seed=4, checkpoint_every=250)
JUDGE_BATCH = 64
BASE = Settings(steps=12000, learning_rate=2e-3, warmup=300, cosine=True, seed=2, checkpoint_every=200)
BASE_BATCH = 64
VARIANTS = 3  # sheets of paper for each drawing on each ground
FORGET_WHOLE = 0.10
FORGET_SLOTS = (0.05, 0.25, 0.25)  # thing, hand, ground: beside a domain, prompts leave the hand open
SNR_CAP = 5.0
DOMAIN_SHARE = 0.4  # of the code's pictures that are of the domains' shown halves
PLAIN_SHARE = 0.5  # of the code's pictures that lie on a colour without a name


def make_code(folder: Path, pictures: int = CODED) -> None:
    """The latents' code, of all of the base's drawings and of those that the domains are shown."""
    pool = everything(read_drawings(folder / checkpoints.DRAWINGS))
    generator = torch.Generator().manual_seed(CODE_SEED)
    painted = [paint_anything(pool, CHUNK, generator) for _ in range(pictures // CHUNK)]
    checkpoints.write_code(fit(torch.cat(painted)), folder)


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
    checkpoints.write_base(base, folder)


def make_judge(folder: Path, settings: Settings = JUDGE) -> None:
    """The judge, on every drawing; neither base nor domain learns from it."""
    drawn = read_drawings(folder / checkpoints.DRAWINGS)
    torch.manual_seed(settings.seed)
    judge = Judge()
    objective = judge_objective(judge, partial(paint_every_hand, drawn, JUDGE_BATCH))
    runs.train_to_the_end(judge, objective, settings, folder / "judge.state")
    judge.calibrate(paint_every_hand(drawn, 1000, runs.step_generator(settings.steps, settings.seed)).images)
    checkpoints.write_judge(judge, folder)


def _base_pictures(folder: Path) -> BasePictures:
    """The base's pictures as latents, made once and kept beside the checkpoints."""
    file = folder / "pictures.state"
    if not file.exists():
        encode = checkpoints.load_code(folder).encode
        encoded = paint_base(read_drawings(folder / checkpoints.DRAWINGS), VARIANTS, encode)
        save_tensors(file, vars(encoded), {})
    return BasePictures(**load_file(file))


def everything(drawn: Mapping[str, Tensor]) -> Tensor:
    """What the code is found from [N, 4, 128, 128]: the base's drawings, then what the domains are shown."""
    return torch.cat([*(drawn[hand] for hand in HANDS), *(drawn[hand][shown()] for hand in DOMAINS)])


def paint_anything(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Pictures [N, 3, 64, 64] for the code, of `everything`: on any ground, half of them mirrored."""
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
    checkpoints.CODE: make_code,
    checkpoints.JUDGE: make_judge,
    checkpoints.BASE: make_base,
    **{checkpoints.domain_file(hand): partial(make_domain, hand) for hand in DOMAINS},
}
