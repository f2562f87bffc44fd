"""Guidance as a sum of parallel terms (arXiv 2312.08195, the general form)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

Reshape = Callable[[Tensor, Tensor], Tensor]
"""(difference [B, ...], prediction [B, ...]) -> difference [B, ...], denoised; `projection.Projection` is one."""


@dataclass(frozen=True)
class Term:
    """One guidance term, `weight * mask * (prediction - reference)`.

    prediction: [B, C, H, W], what the guiding model says at (x, sigma).
    reference: [B, C, H, W], the subtrahend: the frozen base on the empty prompt at the same (x, sigma).
    weight: any finite number; negative pushes away.
    mask: broadcastable to [B, C, H, W], in [0, 1]; None is everywhere.
    projection: how the difference is shaped before it is weighted; None leaves it as it is (the paper).

    All predictions of one sum share one space. Because the coefficients of the general form add up to 1, noise,
    velocity and denoised space give the same result, as long as every model sees the same x and sigma. Projection is
    the exception: it is defined on denoised predictions.
    """

    prediction: Tensor
    reference: Tensor
    weight: float
    mask: Tensor | None = None
    projection: Reshape | None = None

    def __post_init__(self):
        if self.prediction.shape != self.reference.shape:
            raise ValueError(
                f"A guidance term got a prediction of shape {list(self.prediction.shape)} and a reference of shape "
                f"{list(self.reference.shape)}: both must come from the same latent, so use two models of one "
                "latent format."
            )

    def contribution(self) -> Tensor:
        """The term's value, [B, C, H, W]."""
        difference = self.prediction - self.reference
        if self.projection is not None:
            difference = self.projection(difference, self.prediction)
        if self.mask is not None:
            difference = difference * self.mask
        return self.weight * difference


def compose(start: Tensor, terms: Iterable[Term]) -> Tensor:
    """Add parallel terms to `start`, [B, C, H, W]: `start + sum_i w_i (e_i - ref_i)`.

    With `start` and every reference the base's empty-prompt prediction this is the paper's general form. With `start` a
    sampler's own guided result it adds terms to whatever guidance that sampler already has. Terms are parallel: none
    sees another's result, nothing is rescaled. A term of weight 0 contributes nothing, not even a rounding.
    """
    return sum((term.contribution() for term in terms if term.weight != 0), start)


def total_weight(weighted: Iterable[tuple[float, Tensor | None]]) -> float:
    """The largest sum of weights in any one place, of (weight, mask) pairs; a mask of None is everywhere."""
    total = torch.zeros(())
    for weight, mask in weighted:
        total = total + (weight if mask is None else weight * mask.cpu())
    return float(total.max())
