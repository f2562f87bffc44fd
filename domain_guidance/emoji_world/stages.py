"""The stages of making the emoji world's weights, all through the one training loop.

Every stage reads what earlier ones wrote to the folder, goes on from its own last checkpoint there, and ends with one
file. The code is computed, everything else is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from .base_pictures import BasePictures, paint_base, paint_others, paint_sketched, paint_soft, paint_varied
from .domains import make_domain
from .drawings import read_drawings, read_others
from .judge import Judge, judge_objective, paint_every_hand, paint_in_looks
from .model import PREDICTION, Base
from .patch_code import fit
from .prompts import Prompts, forget_slots, together
from .scenes import lay
from .things import DOMAINS, GROUNDS, HANDS, THINGS, shown

CODE_SEED = 1
CHUNK = 400
CODED = 4000  # pictures that the latents' code is found from
JUDGE = Settings(steps=3000, learning_rate=2e-3, warmup=50, cosine=True, seed=4, checkpoint_every=250)
JUDGE_BATCH = 64
# The base is trained four times, with so many pictures of each kind in a batch. The second time they are mostly
# sketches of what it names: of the first batches' 28 named and 20 varied pictures only 3 are sketches of a thing with a
# word. The last two add the same in soft light.
BASE = (
    (
        Settings(steps=12000, learning_rate=2e-3, warmup=300, cosine=True, seed=2, checkpoint_every=200),
        {"named": 28, "varied": 20, "others": 16},
    ),
    (
        Settings(steps=5200, learning_rate=1.5e-3, warmup=100, cosine=True, seed=3, checkpoint_every=200),
        {"named": 26, "sketched": 26, "varied": 4, "others": 8},
    ),
    (
        Settings(steps=4000, learning_rate=1.5e-3, warmup=100, cosine=True, seed=5, checkpoint_every=200),
        {"named": 20, "sketched": 16, "soft": 22, "varied": 2, "others": 4},
    ),
    (
        Settings(steps=1000, learning_rate=1e-3, warmup=50, cosine=True, seed=8, checkpoint_every=200),
        {"named": 20, "sketched": 16, "soft": 22, "varied": 2, "others": 4},
    ),
)
VARIANTS = 3  # sheets of paper for each drawing on each ground
# The whole prompt, and thing, hand and ground: beside a domain, prompts leave the hand open.
FORGET = (0.10, (0.05, 0.25, 0.25))
# So seldom that a prompt without a style is mostly answered in a hand; and the empty one as often, or else a prompt's
# guidance would lead away from looks.
FORGET_LOOK = (0.025, (0.05, 0.06, 0.25))
SNR_CAP = 5.0
DOMAIN_SHARE = 0.4  # of the code's pictures that are of the domains' shown halves
PLAIN_SHARE = 0.5  # of the code's pictures that lie on a colour without a name


def make_code(folder: Path, pictures: int = CODED) -> None:
    """The latents' code, of all of the base's drawings and of those that the domains are shown."""
    pool = everything(read_drawings(folder / checkpoints.DRAWINGS))
    generator = torch.Generator().manual_seed(CODE_SEED)
    painted = [paint_anything(pool, CHUNK, generator) for _ in range(pictures // CHUNK)]
    checkpoints.write_code(fit(torch.cat(painted)), folder)


def make_base(folder: Path, trainings: Sequence[tuple[Settings, Mapping[str, int]]] = BASE) -> None:
    """The text-conditional base: things in hands on grounds, and prompts of which parts are forgotten."""
    kinds = _base_pictures(folder)
    torch.manual_seed(trainings[0][0].seed)
    base = Base()
    for number, (settings, counts) in enumerate(trainings):
        data = partial(_base_batch, kinds, counts)
        objective = noise_objective(base.predict, data, scaled_linear(), PREDICTION, min_snr(SNR_CAP, PREDICTION))
        runs.train_to_the_end(base, objective, settings, folder / f"{base_state(number)}.state")
    checkpoints.write_base(base, folder)


def base_state(number: int) -> str:
    """The name of the state of one of the base's trainings."""
    return "base" if number == 0 else f"base-{number + 1}"


def _base_batch(kinds: Mapping[str, BasePictures], counts: Mapping[str, int], generator: torch.Generator) -> Batch:
    latents, prompts = zip(
        *(_some(kinds[kind], count, *_forgotten_of(kind), generator) for kind, count in counts.items())
    )
    return Batch(torch.cat(latents), together(prompts))


def make_judge(folder: Path, settings: Settings = JUDGE) -> None:
    """The judge, on every drawing; neither base nor domain learns from it."""
    drawn = read_drawings(folder / checkpoints.DRAWINGS)
    torch.manual_seed(settings.seed)
    judge = Judge()
    objective = judge_objective(judge, partial(paint_in_looks, drawn, JUDGE_BATCH))
    runs.train_to_the_end(judge, objective, settings, folder / "judge.state")
    judge.calibrate(paint_every_hand(drawn, 1000, runs.step_generator(settings.steps, settings.seed)).images)
    checkpoints.write_judge(judge, folder)


def _forgotten_of(kind: str) -> tuple[float, tuple[float, float, float]]:
    return FORGET_LOOK if kind in ("sketched", "soft") else FORGET


def _some(
    pictures: BasePictures, count: int, whole: float, single: tuple[float, float, float], generator: torch.Generator
) -> tuple[Tensor, Prompts]:
    """Latents and prompts of pictures by chance, with parts of the prompts forgotten."""
    chosen = torch.randint(len(pictures), (count,), generator=generator)
    return pictures.latents[chosen], forget_slots(pictures.prompts(chosen), whole, single, generator)


def _base_pictures(folder: Path) -> dict[str, BasePictures]:
    """The base's pictures of each kind as latents, made once and kept beside the checkpoints."""
    encode, file = checkpoints.load_code(folder).encode, folder / checkpoints.DRAWINGS
    painters = {
        "named": lambda: paint_base(read_drawings(file), VARIANTS, encode),
        "varied": lambda: paint_varied(read_drawings(file), read_others(file)[1], encode),
        "sketched": lambda: paint_sketched(read_drawings(file), encode),
        "soft": lambda: paint_soft(read_drawings(file), read_others(file)[1], encode),
        "others": lambda: paint_others(read_others(file)[1], encode),
    }
    return {kind: _kept(folder / f"{kind}.pictures.state", paint) for kind, paint in painters.items()}


def _kept(file: Path, paint: Callable[[], BasePictures]) -> BasePictures:
    if not file.exists():
        save_tensors(file, vars(paint()), {})
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
