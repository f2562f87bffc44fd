"""Squared maximum mean discrepancy (MMD) between two sets of features: KID with a confidence interval, and CMMD.

Features are [N, D] and [M, D], of any floating-point type, on any device. Arithmetic is float64 and in blocks, so the
memory grows with N and M, not with their product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

BLOCK = 2048  # rows of a block of the kernel matrix
FEWEST_HALVES = 4  # images: of fewer, neither halves nor draws with replacement show how they vary
CMMD_SIGMA, CMMD_SCALE = 10.0, 1000.0

Kernel = Callable[[Tensor, Tensor], Tensor]
Check = Callable[[], None]


@dataclass(frozen=True)
class Estimate:
    """A value, and the ends of its confidence interval, both None where there are too few images for one."""

    value: float
    low: float | None
    high: float | None


def polynomial(a: Tensor, b: Tensor) -> Tensor:
    """KID's kernel (x·y / D + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401, section 4)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def gaussian(sigma: float) -> Kernel:
    """exp(-|x - y|² / 2 sigma²)."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squared = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
        return torch.exp(-squared.clamp_min(0) / (2 * sigma**2))

    return kernel


def squared_mmd(kernel: Kernel, x: Tensor, y: Tensor, *, unbiased: bool) -> float:
    """Squared MMD of two sets (Gretton et al. 2012): equation 3, unbiased, or equation 5, biased.

    The biased one is exactly 0 for a set with itself and never below it. The unbiased one is 0 on average for two sets
    of one distribution, so it may be negative, and for a set with itself it is: by the images' likeness to themselves,
    which is in the comparison between the sets and, rightly, not in those within one. Raises ValueError for fewer than
    2 images.
    """
    _check(x, y)
    distance = _unbiased if unbiased else _biased
    return distance(kernel, x, y, _ones(x), _ones(y)).item()


def kid(
    x: Tensor, y: Tensor, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0, check: Check = lambda: None
) -> Estimate:
    """The kernel distance of KID (arXiv 1801.01401): unbiased squared MMD under `polynomial`, of all images at once.

    The interval is of the bootstrap's percentiles [choice]: both sets are drawn anew, with replacement, `resamples`
    times; an image that is drawn twice is never compared with itself. So it tells how far another draw of as many
    images may lie. Where the two distributions are equal it is too wide, by up to the root of 3; far apart and with few
    dozens of images, a little too narrow. Fewer than 4 images of either set have none. Value and interval are
    independent of the order of the images. check: called between blocks of the arithmetic; it may raise. Raises
    ValueError for fewer than 2 images.
    """
    if min(len(x), len(y)) < FEWEST_HALVES:
        return Estimate(squared_mmd(polynomial, x, y, unbiased=True), None, None)
    x, y = _in_order(x), _in_order(y)
    generator = torch.Generator().manual_seed(seed)
    weights = [_ones_and_drawn(len(features), resamples, generator, check).to(features.device) for features in (x, y)]
    value, drawn = _unbiased(_heeding(check, polynomial), x, y, *weights).split((1, resamples))
    tail = (1 - confidence) / 2
    # Of very few images one may be all that is drawn, which leaves no pair.
    low, high = drawn[drawn.isfinite()].quantile(torch.tensor([tail, 1 - tail]).to(value)).tolist()
    return Estimate(value.item(), low, high)


def split_half(
    x: Tensor, *, splits: int = 200, confidence: float = 0.95, seed: int = 0, check: Check = lambda: None
) -> float:
    """Measure how far two random halves of one set lie apart under `kid`.

    It is the |distance| that `confidence` of the splits stay below; a distance to this set is worth mentioning where it
    is larger [choice]. check: see `kid`. Raises ValueError for fewer than 4 images.
    """
    if len(x) < FEWEST_HALVES:
        raise ValueError(f"The set has {len(x)} images: give at least {FEWEST_HALVES} to compare halves of it.")
    x = _in_order(x)
    generator = torch.Generator().manual_seed(seed)
    ranks = torch.rand(len(x), splits, generator=generator).argsort(0).argsort(0)
    first = (ranks < len(x) // 2).to(torch.float64).to(x.device)
    second = (ranks >= len(x) - len(x) // 2).to(first)
    half, kernel = len(x) // 2, _heeding(check, polynomial)
    one, other, cross = _sums_within(
        kernel, x, torch.cat((first, second, first), 1), torch.cat((first, second, second), 1)
    ).split(splits)
    distances = (one + other) / (half * (half - 1)) - 2 * cross / half**2
    return distances.abs().quantile(confidence).item()


def cmmd(x: Tensor, y: Tensor, *, check: Check = lambda: None) -> float:
    """CMMD (Jayasumana et al.

    2024, arXiv 2401.09603): 1000 times the squared MMD of unit CLIP embeddings, Gaussian kernel, sigma 10.

    Biased, as their release computes it: exactly 0 for a set with itself. Features are brought to length 1 here. Only
    those of CLIP ViT-L/14 at 336 px give values to compare with theirs. check: see `kid`. Raises ValueError for fewer
    than 2 images.
    """
    x, y = (normalize(features.double(), dim=1) for features in (x, y))
    return CMMD_SCALE * squared_mmd(_heeding(check, gaussian(CMMD_SIGMA)), x, y, unbiased=False)


def _heeding(check: Check, kernel: Kernel) -> Kernel:
    """The kernel, with a check before each of its blocks."""

    def heeding(a: Tensor, b: Tensor) -> Tensor:
        check()
        return kernel(a, b)

    return heeding


def _unbiased(kernel: Kernel, x: Tensor, y: Tensor, in_x: Tensor, in_y: Tensor) -> Tensor:
    """[R], a distance for each column of the weights in_x [N, R] and in_y [M, R]."""
    cross = 2 * _sums(kernel, x, y, in_x, in_y) / (in_x.sum(0) * in_y.sum(0))
    return _within(kernel, x, in_x) + _within(kernel, y, in_y) - cross


def _biased(kernel: Kernel, x: Tensor, y: Tensor, in_x: Tensor, in_y: Tensor) -> Tensor:
    parts = [
        _sums(kernel, a, b, u, v) / (u.sum(0) * v.sum(0))
        for a, b, u, v in ((x, x, in_x, in_x), (y, y, in_y, in_y), (x, y, in_x, in_y))
    ]
    return parts[0] + parts[1] - 2 * parts[2]


def _within(kernel: Kernel, x: Tensor, weights: Tensor) -> Tensor:
    """[R], the mean over pairs of two different images of one set."""
    pairs = weights.sum(0).square() - sum(rows.square().sum(0) for rows in weights.split(BLOCK))
    return _sums_within(kernel, x, weights, weights) / pairs


def _sums(kernel: Kernel, x: Tensor, y: Tensor, in_x: Tensor, in_y: Tensor) -> Tensor:
    """[R], the sums over i, j of in_x[i] k(x_i, y_j) in_y[j]."""
    total = torch.zeros(in_x.shape[1], dtype=torch.float64, device=x.device)
    for top in range(0, len(x), BLOCK):
        rows = x[top : top + BLOCK].double()
        for left in range(0, len(y), BLOCK):
            block = kernel(rows, y[left : left + BLOCK].double())
            total += ((block @ in_y[left : left + BLOCK]) * in_x[top : top + BLOCK]).sum(0)
    return total


def _sums_within(kernel: Kernel, x: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """[R], the sums over i, j of one set, i not j, of in_a[i] k(x_i, x_j) in_b[j]: half of the blocks, for a kernel is
    symmetric.
    """
    total = torch.zeros(in_a.shape[1], dtype=torch.float64, device=x.device)
    for top in range(0, len(x), BLOCK):
        rows, here = x[top : top + BLOCK].double(), slice(top, top + BLOCK)
        for left in range(top, len(x), BLOCK):
            block, there = kernel(rows, x[left : left + BLOCK].double()), slice(left, left + BLOCK)
            if left == top:
                block.fill_diagonal_(0)
            else:
                total += ((block.T @ in_b[here]) * in_a[there]).sum(0)
            total += ((block @ in_b[there]) * in_a[here]).sum(0)
    return total


def _ones_and_drawn(count: int, resamples: int, generator: torch.Generator, check: Check) -> Tensor:
    """[count, 1 + resamples]: ones, then how often each of `count` images comes up in as many draws.

    Drawn in blocks, for the draws take as much memory as the result.
    """
    weights = torch.zeros(count, 1 + resamples, dtype=torch.float64)
    weights[:, 0] = 1
    one = torch.ones((), dtype=torch.float64)
    for top in range(0, count, BLOCK):
        check()
        drawn = torch.randint(count, (min(BLOCK, count - top), resamples), generator=generator)
        weights[:, 1:].scatter_add_(0, drawn, one.expand_as(drawn))
    return weights


def _ones(features: Tensor) -> Tensor:
    return torch.ones(len(features), 1, dtype=torch.float64, device=features.device)


def _in_order(features: Tensor) -> Tensor:
    """An order of their own, so that what is drawn by place does not depend on the names of files."""
    return features[features.double().sum(1).argsort()]


def _check(x: Tensor, y: Tensor) -> None:
    if min(len(x), len(y)) < 2:
        raise ValueError(f"The distance is between {len(x)} and {len(y)} images: give at least 2 of each.")
