"""Against collapse: adapted pictures keep the source pictures' distances to each other (Ojha et al.

2021, arXiv 2104.06820, section 3.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def relative_distance_loss(adapted: Tensor, source: Tensor) -> Tensor:
    """The mean divergence KL(source || adapted) of each image's similarities to the others, a scalar.

    adapted, source: [B, ...] of the same latents in the same order, B >= 3: with two images there is only one other,
    whose share is always 1. Similarities are cosines, made a distribution by softmax, as in the paper.
    """
    if len(adapted) < 3:
        raise ValueError(
            f"The relative distance compares pictures of a batch, and this one has {len(adapted)}: give at least 3."
        )
    return F.kl_div(_similarities(adapted), _similarities(source).detach(), log_target=True, reduction="batchmean")


def _similarities(images: Tensor) -> Tensor:
    """Log-shares [B, B - 1] of each image's similarity to each other one."""
    directions = F.normalize(images.flatten(1), dim=1)
    cosines = directions @ directions.T
    others = ~torch.eye(len(images), dtype=torch.bool, device=images.device)
    return cosines[others].reshape(len(images), -1).log_softmax(dim=1)
