"""Taming a guidance difference: drop what is parallel to the prediction, and cap its length.

APG, Sadat et al. 2025, arXiv 2410.02416, sections 3.1 and 3.2. The parallel part mostly scales the picture and so
saturates it; the orthogonal part changes what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.dimensions import append_dims
from ..diffusion.double_precision import in_double


@dataclass(frozen=True)
class Projection:
    """Reshapes a difference of two denoised predictions.

    parallel: share of the part parallel to the prediction that is kept, 1 all (off), 0 none. The papers' eta.
    norm_cap: longest allowed L2 norm of one image's difference, in latent units; 0 is no cap. The paper's r.
    """

    parallel: float = 1.0
    norm_cap: float = 0.0

    def __post_init__(self):
        if self.norm_cap < 0:
            raise ValueError(
                f"The norm cap of a guidance term is {self.norm_cap:g}: give a length above 0, or 0 for no cap."
            )

    @property
    def is_identity(self) -> bool:
        return self.parallel == 1.0 and self.norm_cap == 0.0

    def __call__(self, difference: Tensor, prediction: Tensor) -> Tensor:
        """Return the reshaped difference, [B, ...].

        difference, prediction: [B, ...] in denoised space.
        """
        if self.norm_cap > 0:
            difference = cap_norm(difference, self.norm_cap)
        if self.parallel != 1.0:
            difference = difference - (1.0 - self.parallel) * parallel_part(difference, prediction)
        return difference


def cap_norm(difference: Tensor, cap: float) -> Tensor:
    """Shortens each image's difference [B, ...] to an L2 norm of at most `cap`."""
    norm = torch.linalg.vector_norm(difference.flatten(1), dim=1)
    # The floor only guards 0/0: a zero difference stays zero.
    scale = (cap / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1.0)
    return difference * append_dims(scale, difference)


def parallel_part(difference: Tensor, prediction: Tensor) -> Tensor:
    """The component of `difference` [B, ...] along `prediction` [B, ...], image by image, in double precision."""
    d, p = (in_double(values.flatten(1)) for values in (difference, prediction))
    share = (d * p).sum(1) / (p * p).sum(1).clamp_min(torch.finfo(p.dtype).tiny)
    return (share[:, None] * p).view(prediction.shape).to(difference)
