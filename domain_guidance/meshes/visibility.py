"""What a camera sees of a point on the surface: whether, how squarely, and where in its picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import tan

import torch
from torch import Tensor
from torch.nn import functional

from .raster import Fragments, rasterise
from .surface import Surface
from .views import Views

GRAZING = 0.17  # the cosine between surface and view, about 80 degrees, from which a camera says nothing (our choice)
LOOSE = 1.5  # how many pixels' worth of depth two readings of one point may differ by (our choice)


Check = Callable[[], None]


def nothing() -> None:
    """The check of work that nobody stops."""


@dataclass(frozen=True)
class Seen:
    """Points [P] in the pictures of cameras [V].

    places: picture coordinates [V, P, 2]. cosine: between the surface and the direction to the camera, 0 to 1,
    [V, P]; 0 where the camera does not see the point, or sees it at the edge of something nearer or of the background.
    """

    places: Tensor
    cosine: Tensor

    def weights(self, sharpness: float) -> Tensor:
        """What each camera counts at each point, [V, P]: the cosine to a power, and nothing where it does not see."""
        return torch.where(self.cosine > 0, self.cosine**sharpness, 0.0)  # 0 to the power of 0 would be 1

    def shares(self, sharpness: float) -> Tensor:
        """The weights made to sum to 1 where any camera sees the point, [V, P]; 0 where none does."""
        # Of the cosine's share of the largest: at a high power the cosines themselves would all be rounded to 0.
        squarest = self.cosine.amax(0).clamp_min(GRAZING / 2)
        weights = Seen(self.places, self.cosine / squarest).weights(sharpness)
        return weights / weights.sum(0).clamp_min(1)


def draw_views(surface: Surface, views: Views, check: Check = nothing) -> list[Fragments]:
    """The nearest triangle at every pixel of every view. check: called before each, may raise to stop the work."""
    places, depth = views.project(surface.vertices)
    drawn = []
    for number in range(len(views)):
        check()
        drawn.append(rasterise(places[number], depth[number], surface.faces, views.height, views.width))
    return drawn


def look(surface: Surface, points: Tensor, faces: Tensor, views: Views, drawn: list[Fragments]) -> Seen:
    """What every camera sees of points [P, 3] in triangles `faces` [P] of the surface that was `drawn`."""
    places, depth = views.project(points)
    away = functional.normalize(views.eyes[:, None] - points, dim=2)
    facing = (away * surface.normals[faces]).sum(2)
    cosine = facing.abs()  # of either side: a mesh with flipped faces is a surface all the same
    pixel = 2 * depth * tan(views.field_of_view / 2) / views.height
    slope = (1 - cosine.square()).clamp_min(0).sqrt() / cosine.clamp_min(GRAZING)
    tolerance = LOOSE * pixel * (0.25 + slope)
    near = torch.stack([_nearest_readings(drawn[number].depth, places[number]) for number in range(len(views))])
    seen = ((near - depth[..., None]).abs() <= tolerance[..., None]).all(2)  # false where a reading is infinite
    seen &= (places.abs() <= 1).all(2) & (cosine >= GRAZING)
    if surface.oriented:  # behind an edge the other side begins, less than the tolerance away
        seen &= _same_side(surface, facing, views, drawn, places)
    return Seen(places, torch.where(seen, cosine, 0.0))


def _same_side(surface: Surface, facing: Tensor, views: Views, drawn: list[Fragments], places: Tensor) -> Tensor:
    """Whether points [V, P] turn the same side to the camera as the triangle that is drawn at their place."""
    size = places.new_tensor([views.width, views.height])
    pixels = ((places.nan_to_num(0.0) + 1) / 2 * size).long().clamp_min(0).minimum(size.long() - 1)
    same = []
    for number, fragments in enumerate(drawn):
        face = fragments.face[pixels[number, :, 1], pixels[number, :, 0]].clamp_min(0)
        towards = views.eyes[number] - surface.corners[face, 0]
        same.append((towards * surface.normals[face]).sum(1) * facing[number] > 0)
    return torch.stack(same)


def _nearest_readings(depth: Tensor, places: Tensor) -> Tensor:
    """The four readings of [H, W] that bilinear sampling at [P, 2] would mix, [P, 4]; infinite outside the picture."""
    height, width = depth.shape
    x, y = ((places + 1) / 2 * places.new_tensor([width, height]) - 0.5).nan_to_num(-1e6).unbind(1)
    left, top = x.floor().long().clamp(-2, width + 1), y.floor().long().clamp(-2, height + 1)
    readings = []
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        # A picture's border is repeated, as sampling does.
        readings.append(depth[row.clamp(0, height - 1), column.clamp(0, width - 1)])
    return torch.stack(readings, dim=1)
