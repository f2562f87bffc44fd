"""The rival of the toy's adaptations: one direction in a feature space.

Here it is a classifier's, as StyleGAN-NADA has one in CLIP's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..adaptation import AdaptedPair
from ..runs import Objective, Settings, TrainingState, train
from ..runs.optimizers import adam
from .features import FeatureNet

SAMPLES = 1000  # source pictures whose mean is the direction's start
NEAR = 0.1


def follow_direction(
    pair: AdaptedPair, judge: FeatureNet, target: Tensor, steps: int, batch: int, rate: float, seed: int
) -> None:
    """Train the pair's adapted generator by the directional loss in the judge's features.

    arXiv 2108.00946, section 4.1. target: real pictures [M, 3, 16, 16]. The direction leads from the mean of the
    source's features to that of the target's. NADA takes it from two texts, which the judge cannot read; the real
    pictures are an advantage that NADA does not have.
    """
    direction = _mean_features(judge, target) - _mean_features(judge, _source_pictures(pair, seed))
    settings = Settings(steps, learning_rate=rate, max_gradient_norm=math.inf, seed=seed)
    state = TrainingState(pair.module, settings, adam, average=False)
    for _ in train(state, direction_objective(pair, judge, direction, batch), settings):
        pass


def direction_objective(pair: AdaptedPair, judge: FeatureNet, direction: Tensor, batch: int) -> Objective:
    """1 - cos(features of the adapted picture - features of the source's, direction [D]), the mean over a batch.

    At the start nothing has moved and the cosine has no slope: moves shorter than NEAR of the direction count by their
    length.
    """
    near = NEAR * direction.norm().item()

    def objective(generator: torch.Generator) -> Tensor:
        adapted, source = pair.draw(batch, generator, with_source=True)
        assert source is not None
        moved = judge.body(adapted.clamp(-1, 1)) - judge.body(source.clamp(-1, 1))
        return 1 - F.cosine_similarity(moved, direction[None], eps=near).mean()

    return objective


@torch.no_grad()
def _mean_features(judge: FeatureNet, images: Tensor) -> Tensor:
    return judge.body(images.clamp(-1, 1)).mean(0)


@torch.no_grad()
def _source_pictures(pair: AdaptedPair, seed: int) -> Tensor:
    return pair.source.synthesis(*pair.draw_inputs(SAMPLES, torch.Generator().manual_seed(seed)))
