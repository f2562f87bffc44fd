"""The toy's generator adapted to a prompt, and to the plates without text.

It shows what reaches the target, what collapses, and the rival.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import runs
from ..adaptation import AdaptationSettings, AdaptedPair, adapt_generator
from ..evaluation import diversity
from ..evaluation.scores import kernel_distance, share
from ..generators import GeneratorFile, latents, read_generator_file
from .comparison import ToyModels
from .critics import ToyCritic, domain_critic, prompt_critic
from .digits import load_digits
from .nada import follow_direction
from .scenes import GROUNDS, PLATE, paint_domain, paint_open_world

PICTURES = 500  # that each generator draws for its measures
REFERENCE = 1000  # held-out pictures of the target
SURE = 0.9  # the judge's confidence in a digit that counts as readable
COARSE = 4
GROUND = "sky"


@dataclass(frozen=True)
class Goal:
    """What to adapt to.

    critic: of a given strength. paint: real pictures of a split. ground: what the judge reads in them.
    """

    name: str
    critic: Callable[[ToyModels, float], ToyCritic]
    paint: Callable[[str, int, torch.Generator], Tensor]
    ground: int


@dataclass(frozen=True)
class Way:
    """One way to a goal. strength: of the critic's guidance, None for the rival, which has no diffusion model."""

    goal: str
    name: str
    settings: AdaptationSettings
    strength: float | None = None

    def file_name(self, seed: int) -> str:
        return f"{self.goal} {self.name} {seed}".replace(", ", " ").replace(" ", "-")


@dataclass(frozen=True)
class Found:
    """What the judge says of a generator. Shares are in [0, 1], of PICTURES pictures.

    distance: kernel distance to REFERENCE held-out pictures of the target, in the judge's features. pixels: the same of
    colours, means over COARSE x COARSE pixels, which no way is trained on. diversity: the mean distance between two
    pictures' features, as a share of the source generator's. readable: digits that the judge is sure of. kept: digits
    that are read as in the source's picture of the same seed. reached: pictures whose ground is read as the target's.
    """

    distance: float
    pixels: float
    diversity: float
    readable: float
    kept: float
    reached: float


def _on_ground(split: str, count: int, generator: torch.Generator) -> Tensor:
    """Open-world pictures on GROUND."""
    scenes = paint_open_world(load_digits(split), 12 * count, generator)
    return scenes.images[scenes.ground == list(GROUNDS).index(GROUND)][:count]


def _plates(split: str, count: int, generator: torch.Generator) -> Tensor:
    return paint_domain(load_digits(split), count, generator).images


GOALS = {
    goal.name: goal
    for goal in (
        Goal(
            "prompt",
            lambda models, cfg: prompt_critic(models, cfg, ground=GROUND),
            _on_ground,
            list(GROUNDS).index(GROUND),
        ),
        Goal("plates", domain_critic, _plates, PLATE),
    )
}


def adapt(way: Way, source: GeneratorFile, models: ToyModels, folder: Path, seed: int) -> AdaptedPair:
    """The pair after training, which goes on from what an earlier call left in the folder."""
    files, pair = runs.RunFiles(folder, way.file_name(seed)), AdaptedPair(source, "cpu")
    settings = replace(way.settings, seed=seed)
    if not files.result.exists():
        if way.strength is None:
            _follow(GOALS[way.goal], pair, models, settings)
            pair.write(files.result, {"method": "direction in the judge's features"})
        else:
            for _ in adapt_generator(pair, GOALS[way.goal].critic(models, way.strength), settings, files):
                pass
    pair.module.load_state_dict(
        {name: tensor.float() for name, tensor in read_generator_file(files.result).weights.items()}
    )
    return pair


def pictures(pair: AdaptedPair, seeds: Sequence[int]) -> Tensor:
    """Source and adapted pictures of the seeds at truncation 1, clamped as a viewer would, [2, N, 3, 16, 16]."""
    with torch.no_grad():
        ws = pair.source.styles(latents(seeds, pair.config.z_dim))
        return torch.stack([generator.synthesis(ws).clamp(-1, 1) for generator in (pair.source, pair.module)])


def measure(images: Tensor, source: Tensor, goal: Goal, models: ToyModels, reference_seed: int) -> Found:
    """Measure adapted pictures against a goal.

    images, source: of the same latents in the same order, [N, 3, 16, 16].
    """
    reference = goal.paint("held_out", REFERENCE, torch.Generator().manual_seed(reference_seed))
    ours, theirs, target = (models.judge.read(each) for each in (images, source, reference))
    with torch.no_grad():
        sure = models.judge(images)["digit"].softmax(1).amax(1) > SURE
    return Found(
        distance=kernel_distance(ours.features, target.features),
        pixels=kernel_distance(_coarse(images), _coarse(reference)),
        diversity=diversity(ours.features) / diversity(theirs.features),
        readable=sure.double().mean().item(),
        kept=share(ours.digit, theirs.digit),
        reached=(ours.ground == goal.ground).double().mean().item(),
    )


def _coarse(images: Tensor) -> Tensor:
    """[N, 3, 16, 16] to [N, 48]."""
    return F.avg_pool2d(images, COARSE).flatten(1)


def _follow(goal: Goal, pair: AdaptedPair, models: ToyModels, settings: AdaptationSettings) -> None:
    target = goal.paint("domain", REFERENCE, torch.Generator().manual_seed(settings.seed))
    follow_direction(
        pair, models.judge, target, settings.steps, settings.batch_size, settings.learning_rate, settings.seed
    )
