"""Rays through a field to what they see, a bounded number of them at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .layout import Rendering
from .marching import Rendered, along_ray, march, weights, where_it_matters

Field = Callable[[Tensor], tuple[Tensor, Tensor]]
RAYS = 4096  # at a time, by default: about half a gigabyte at 96 samples of 32 features


def render(
    field: Field,
    origins: Tensor,
    directions: Tensor,
    rendering: Rendering,
    *,
    generator: torch.Generator | None = None,
    rays_at_once: int = RAYS,
) -> Rendered:
    """Render what rays [N, R, 3] see of a field, as [N, R] and [N, R, C].

    field: points [N, P, 3] to raw densities [N, P] and colours [N, P, C]. generator: draws where between its place and
    the next a sample lies; without one it lies in the middle, so that a picture is the same each time. rays_at_once
    bounds the memory, also of a gradient, for which each part is computed once more; what is seen does not depend on
    it.
    """
    count, total = origins.shape[:2]
    jitter = _jitter((count, total, rendering.samples + rendering.importance_samples), generator, origins)
    step = max(1, rays_at_once // count)
    parts = list(zip(origins.split(step, dim=1), directions.split(step, dim=1), jitter.split(step, dim=1)))
    if torch.is_grad_enabled():
        seen = [
            checkpoint(_render, field, *part, rendering, use_reentrant=False, preserve_rng_state=False)
            for part in parts
        ]
    else:
        seen = [_render(field, *part, rendering) for part in parts]
    return Rendered(*(torch.cat(pieces, dim=1) for pieces in zip(*seen)))


def _render(
    field: Field, origins: Tensor, directions: Tensor, jitter: Tensor, rendering: Rendering
) -> tuple[Tensor, Tensor, Tensor]:
    jitter, finer_jitter = jitter.split((rendering.samples, rendering.importance_samples), dim=-1)
    depths = along_ray(rendering.near, rendering.far, jitter)
    raw, colours = _along(field, origins, directions, depths)
    if rendering.importance_samples:
        finer = where_it_matters(depths, weights(depths, raw.detach()), finer_jitter)
        finer_raw, finer_colours = _along(field, origins, directions, finer)
        depths, order = torch.cat((depths, finer), dim=-1).sort(dim=-1, stable=True)
        raw = torch.cat((raw, finer_raw), dim=-1).gather(-1, order)
        colours = torch.cat((colours, finer_colours), dim=-2)
        colours = colours.gather(-2, order[..., None].expand_as(colours))
    seen = march(depths, raw, colours)
    return seen.colour, seen.depth, seen.opacity


def _along(field: Field, origins: Tensor, directions: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
    raw, colours = field(points.flatten(1, 2))
    return raw.unflatten(1, depths.shape[1:]), colours.unflatten(1, depths.shape[1:])


def _jitter(shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Of all rays at once, so that it does not depend on how many are rendered at a time."""
    if generator is None:
        return like.new_tensor(0.5).expand(shape)
    return torch.rand(shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)
