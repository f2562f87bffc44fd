"""Styles: what a latent becomes, and what can be done with it before the synthesis. Pure functions of tensors.

ws: [N, L, w_dim], one style for each of the synthesis' L inputs (W+); w: [N, w_dim], one style for all of them (W).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def latents(seeds: Sequence[int], z_dim: int) -> Tensor:
    """Latents [N, z_dim] in float32, each from its own seed (0 to 2^64 - 1) alone.

    The numbers are those that NVIDIA's tools draw for a seed below 2^32, so that a picture known by its seed is found
    again.
    """
    drawn = [np.random.RandomState(seed if seed < 2**32 else [seed % 2**32, seed >> 32]).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.stack(drawn)).float()


def per_layer(w: Tensor, count: int) -> Tensor:
    """One style for all inputs, [N, w_dim], as [N, count, w_dim]; what is per layer already stays as it is."""
    return w[:, None].expand(-1, count, -1) if w.ndim == 2 else w


def truncate(ws: Tensor, mean: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Styles moved towards their mean: mean + psi (ws - mean) (arXiv 1812.04948, appendix B).

    mean: [w_dim]. psi: 1 changes nothing, 0 gives the mean. cutoff: only this many inputs, from the coarsest, are
    moved. Raises ValueError for a negative one, which would count from the finest.
    """
    if cutoff is not None and cutoff < 0:
        raise ValueError(f"cutoff is {cutoff}: give the number of styles to truncate, or leave it out for all of them.")
    if psi == 1:
        return ws
    moved = torch.lerp(mean.to(ws), ws, psi)
    return moved if cutoff is None else torch.cat((moved[:, :cutoff], ws[:, cutoff:]), dim=1)


def mix(coarse: Tensor, fine: Tensor, crossover: int) -> Tensor:
    """Style mixing: the first `crossover` inputs from `coarse`, the rest from `fine`, both [N, L, w_dim]."""
    return torch.cat((coarse[:, :crossover], fine[:, crossover:]), dim=1)
