"""Distances between sets of pictures and shares of right answers, as pure functions on features and indices."""

from __future__ import annotations

from torch import Tensor

from .kernel_distance import polynomial, squared_mmd


def kernel_distance(ours: Tensor, theirs: Tensor) -> float:
    """Squared maximum mean discrepancy between features [N, D] and [M, D], unbiased (Gretton et al. 2012, equation 3).

    The kernel is KID's, (x·y / D + 1)^3 (Binkowski et al. 2018). Our choice over the Fréchet distance, whose estimate
    is biased upwards at N of about a hundred, and over a Gaussian kernel, which saturates for sets as far apart as
    these. Around 0 for two sets of one distribution, and a little below it where one set holds every kind equally
    often: compare with what real pictures of the same kinds get.
    """
    return squared_mmd(polynomial, ours, theirs, unbiased=True)


def as_read(distance: float) -> str:
    """A kernel distance for a reader: the unbiased estimate may fall below zero by chance, which is no less than 0."""
    return f"{max(distance, 0.0):.3f}"


def share(answers: Tensor, asked: Tensor) -> float:
    """The share, in [0, 1], of answers [N] that are as asked [N]."""
    return (answers == asked).double().mean().item()
