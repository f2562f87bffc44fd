"""What several views have in common: each view's pixels in the others' pictures.

Synchronised sampling (SyncMVD, arXiv 2311.12891, section 3) puts the denoised predictions of all views into one texture
and renders it back. Here the texture is left out [choice]: a pixel's point on the surface is looked up in every view
that sees it, and their values are averaged. This is the same average with a texture of unlimited resolution; it needs
no texture coordinates and has no seams.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .surface import Surface
from .views import Views
from .visibility import Check, draw_views, look, nothing

SHARPNESS = 1.0  # the power of the cosine that a view counts with: 1 is the area that its pixels have on the surface
OWN = 1e-3  # what a view counts in its own pixels however flat it sees them, so that no sum of weights is zero


@dataclass(frozen=True)
class Correspondence:
    """Where the views' pixels [V, H, W] lie in one another's pictures.

    places: [V, V, H, W, 2], picture coordinates of view i's pixels in view j. weights: [V, V, H, W], summing to 1 over
    j where view i sees the surface, and 0 where it sees the background.
    """

    places: Tensor
    weights: Tensor

    @property
    def covered(self) -> Tensor:
        """Where the views see the surface, [V, H, W]."""
        return self.weights.sum(1) > 0

    def average(self, pictures: Tensor) -> Tensor:
        """Pictures [V, C, H, W], each pixel replaced by the views' average at its point; the background is kept."""
        averaged = torch.stack([self._gathered(pictures, number) for number in range(len(pictures))])
        return torch.where(self.covered[:, None].to(pictures.device), averaged, pictures)

    def _gathered(self, pictures: Tensor, number: int) -> Tensor:
        sampled = functional.grid_sample(
            pictures, self.places[number].to(pictures), padding_mode="border", align_corners=False
        )
        # The view's own values are taken as they are: sampled at pixel centres, they would be the same but for
        # rounding.
        sampled[number] = pictures[number]
        return (sampled * self.weights[number, :, None].to(pictures)).sum(0)


def correspond(surface: Surface, views: Views, sharpness: float = SHARPNESS, check: Check = nothing) -> Correspondence:
    """The correspondence of all views at their own resolution.

    sharpness: the power of the cosine in the weights. check: called before each view, may raise to stop the work.
    """
    drawn = draw_views(surface, views, check)
    places, weights = [], []
    for number, fragments in enumerate(drawn):
        check()
        covered = fragments.covered
        points = fragments.interpolate(surface.vertices, surface.faces)[covered]
        seen = look(surface, points, fragments.face[covered], views, drawn)
        weight = seen.weights(sharpness)
        weight[number] = weight[number].clamp_min(OWN)
        place = points.new_zeros(len(views), *covered.shape, 2)
        share = points.new_zeros(len(views), *covered.shape)
        place[:, covered] = seen.places.nan_to_num(0.0)
        share[:, covered] = weight / weight.sum(0)
        places.append(place)
        weights.append(share)
    return Correspondence(torch.stack(places), torch.stack(weights))
