"""Nearest neighbours among features: precision and recall, the reference image nearest to each sample, mean distances.

Features are [N, D] and [M, D], of any floating-point type; distances are Euclidean, computed in float64 and in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 2048
SAME = 1e-12  # of the squared lengths: what rounding leaves between two equal features


@dataclass(frozen=True)
class Nearest:
    """For each of N images the nearest of another set: its distance [N] in float64 and its place [N]."""

    distance: Tensor
    index: Tensor


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares in [0, 1]."""

    precision: float
    recall: float


def nearest(x: Tensor, y: Tensor) -> Nearest:
    """The nearest of y [M, D] to each of x [N, D]. Equal features are at distance 0."""
    squared, index = _smallest(x, y, 1)
    return Nearest(squared[:, 0].sqrt(), index[:, 0])


def nearest_other(x: Tensor) -> Tensor:
    """Each image's distance [N] to the nearest other one of its own set. Raises ValueError for fewer than 2 images."""
    return radii(x, 1)


def radii(x: Tensor, k: int) -> Tensor:
    """Each image's distance [N] to its k-th nearest other one of its set. Raises ValueError for k images or fewer."""
    if len(x) <= k:
        raise ValueError(
            f"The set has {len(x)} images, expected more than the {k} neighbours that each is measured by: give "
            "more images."
        )
    squared, _ = _smallest(x, x, k, other=True)
    return squared[:, k - 1].sqrt()


def precision_recall(samples: Tensor, reference: Tensor, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991, equations 1 and 2), k = 3 as there.

    Precision: the share of samples that lie within reach of a reference image, that is, no farther than its k-th
    nearest other reference image. Recall: the share of reference images that lie within reach of a sample. Both are 1
    for a set with itself. Raises ValueError for k images or fewer.
    """
    return PrecisionRecall(
        _covered(samples, reference, radii(reference, k)), _covered(reference, samples, radii(samples, k))
    )


def diversity(x: Tensor) -> float:
    """The mean distance between two different images of a set. Raises ValueError for fewer than 2."""
    if len(x) < 2:
        raise ValueError(f"Diversity compares pairs of images, but the set has {len(x)}: give at least 2.")
    total = sum(block.sqrt().sum().item() for _, _, block in _blocks(x, x))
    return total / (len(x) * (len(x) - 1))


def grouped_diversity(x: Tensor, groups: Tensor) -> tuple[float, float]:
    """Mean and standard deviation, over groups, of the diversity within a group.

    groups: [N], which group an image belongs to. Groups of seeds bound the number of pairs; groups by nearest reference
    image are those of Ojha et al. 2021 (arXiv 2104.06820, section 4.2). A group of one image has no pair and is left
    out. Raises ValueError where none has two.
    """
    members = [x[groups == number] for number in groups.unique()]
    found = torch.tensor([diversity(group) for group in members if len(group) > 1], dtype=torch.float64)
    if not len(found):
        raise ValueError(f"None of the {len(members)} groups has two images: make fewer groups.")
    return found.mean().item(), found.std(correction=min(1, len(found) - 1)).item()


def _covered(x: Tensor, y: Tensor, reach: Tensor) -> float:
    """The share of x within `reach` [M] of an image of y."""
    within = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for top, left, block in _blocks(x, y):
        within[top : top + BLOCK] |= (block.sqrt() <= reach[left : left + BLOCK]).any(1)
    return within.double().mean().item()


def _smallest(x: Tensor, y: Tensor, k: int, other: bool = False) -> tuple[Tensor, Tensor]:
    """The k smallest squared distances [N, k], rising, and their places in y. other: of one set, without an image's to
    itself.
    """
    squared = torch.full((len(x), k), torch.inf, dtype=torch.float64, device=x.device)
    index = torch.zeros(len(x), k, dtype=torch.long, device=x.device)
    for top, left, block in _blocks(x, y):
        if other and top == left:
            block.fill_diagonal_(torch.inf)
        rows = slice(top, top + BLOCK)
        places = torch.arange(left, left + block.shape[1], device=x.device).expand_as(block)
        known, where = torch.cat((squared[rows], block), dim=1), torch.cat((index[rows], places), dim=1)
        squared[rows], chosen = known.topk(k, dim=1, largest=False)
        index[rows] = where.gather(1, chosen)
    return squared, index


def _blocks(x: Tensor, y: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """First row, first column, squared distances."""
    for top in range(0, len(x), BLOCK):
        rows = x[top : top + BLOCK].double()
        for left in range(0, len(y), BLOCK):
            columns = y[left : left + BLOCK].double()
            lengths = rows.square().sum(1)[:, None] + columns.square().sum(1)
            block = lengths - 2 * rows @ columns.T
            yield top, left, block.masked_fill_(block <= SAME * lengths, 0)
