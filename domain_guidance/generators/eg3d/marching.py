"""The volume rendering integral (arXiv 2003.08934, equation 3), and where along a ray it is evaluated.

Pure functions of tensors.

A ray has S samples at rising depths; what counts is the S - 1 intervals between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Rendered:
    """What each ray sees.

    colour: [..., C] in [0, 1], nothing added for what shines through. depth: [...], the distance from the ray's origin,
    weighted as the colour is. opacity: [...], 0 to 1.
    """

    colour: Tensor
    depth: Tensor
    opacity: Tensor


def density(raw: Tensor) -> Tensor:
    """The decoder's raw density as one per unit of length; what is 0 there is almost empty."""
    return F.softplus(raw - 1)


def weights(depths: Tensor, raw: Tensor) -> Tensor:
    """How much each interval contributes [..., S - 1], of depths and raw densities [..., S]; their sum is at most 1."""
    passed = torch.exp(-density(_middles(raw)) * depths.diff(dim=-1))
    reached = torch.cumprod(torch.cat((torch.ones_like(passed[..., :1]), passed + 1e-10), dim=-1), dim=-1)[..., :-1]
    return (1 - passed) * reached


def march(depths: Tensor, raw: Tensor, colours: Tensor) -> Rendered:
    """Add up what lies along each ray.

    Densities, colours and depths are those at the middle of each interval. depths, raw: [..., S]; colours: [..., S, C].
    """
    share = weights(depths, raw)
    opacity = share.sum(-1)
    colour = (share[..., None] * (colours[..., 1:, :] + colours[..., :-1, :]) / 2).sum(-2)
    far = 1e-10  # of a weight at the end of the ray, for one that meets nothing
    depth = ((share * _middles(depths)).sum(-1) + far * depths[..., -1]) / (opacity + far)
    return Rendered(colour, depth.clamp(depths[..., 0], depths[..., -1]), opacity)


def along_ray(near: float, far: float, jitter: Tensor) -> Tensor:
    """Depths [..., S] at S places from `near` to `far`, each moved towards the next (EG3D, arXiv 2112.07945, release).

    S is at least 2. jitter: [..., S] in [0, 1), the share of the way to the next place; so the last may lie behind
    `far` by up to one step, as in the release that published weights were trained with.
    """
    step = (far - near) / (jitter.shape[-1] - 1)
    return near + step * (torch.arange(jitter.shape[-1], device=jitter.device) + jitter)


def spread(near: float, far: float, jitter: Tensor) -> Tensor:
    """Values [..., S], one in each of S equal parts of a range (arXiv 2003.08934, equation 2).

    jitter: [..., S] in [0, 1), its place in it.
    """
    parts = torch.arange(jitter.shape[-1], device=jitter.device)
    return near + (far - near) / len(parts) * (parts + jitter)


def where_it_matters(depths: Tensor, share: Tensor, jitter: Tensor) -> Tensor:
    """Depths [..., K], spread as the weights of the intervals are.

    share: [..., S - 1], the weights of the intervals between `depths` [..., S] (arXiv 2103.13415, equation 18: widened
    by half an interval, and none at 0). jitter: [..., K] in [0, 1), the place in each of K equal parts of their
    distribution.
    """
    padded = F.pad(share, (1, 1))
    larger = torch.maximum(padded[..., 1:], padded[..., :-1])
    wide = _middles(larger) + 0.01
    reached = F.pad(torch.cumsum(wide, dim=-1), (1, 0))
    sought = spread(0.0, 1.0, jitter) * reached[..., -1:]
    index = torch.searchsorted(reached, sought, right=True).clamp(1, share.shape[-1])
    before, after = reached.gather(-1, index - 1), reached.gather(-1, index)
    start, end = depths.gather(-1, index - 1), depths.gather(-1, index)
    return torch.lerp(start, end, ((sought - before) / (after - before)).clamp(0, 1))


def _middles(x: Tensor) -> Tensor:
    return (x[..., 1:] + x[..., :-1]) / 2
