"""A texture painted from pictures of the views, and what no view has seen filled from its surroundings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .raster import Fragments, rasterise
from .surface import MeshError, Surface
from .views import Views
from .visibility import Check, draw_views, look, nothing

SHARPNESS = 6.0  # the power of the cosine that a view counts with; higher than in sampling, to be crisper (our choice)
ROUNDS = 512  # of the diffusion over the mesh's edges
TEXELS = 2**18  # worked on at once; bounds the memory
PADDING = 16  # texels round each chart at most; beyond them the mean will do


@dataclass(frozen=True)
class Painted:
    """A texture. image: [T, T, 3], 0 to 1, padded beyond the charts. seen, charted: [T, T], whether any view saw the
    texel, and whether it lies on the surface at all.
    """

    image: Tensor
    seen: Tensor
    charted: Tensor


def paint(
    surface: Surface,
    views: Views,
    images: Tensor,
    size: int,
    sharpness: float = SHARPNESS,
    check: Check = nothing,
) -> Painted:
    """The texture that the views' pictures make together.

    images: [V, H, W, 3], 0 to 1, of any one size with the views' proportions. size: T of the texture. check: called
    between the parts of the work, may raise to stop it.
    What no view sees is filled by diffusion over the surface from what they see; a part that is not connected to
    anything seen takes the mean. Raises MeshError for a surface without texture coordinates.
    """
    if surface.uvs is None:
        raise MeshError(
            "The mesh has no texture coordinates, which a texture needs: put Unwrap Mesh UVs before this node."
        )
    if len(images) != len(views):
        raise MeshError(f"{len(images)} images came for {len(views)} views: connect one image of each view, in order.")
    height, width = images.shape[1:3]
    if abs(height * views.width - width * views.height) > max(views.width, views.height):
        raise MeshError(
            f"The images are {width} x {height} pixels, but the views are {views.width} x {views.height}: give images "
            "with the views' proportions."
        )
    charts = rasterise(surface.uvs * 2 - 1, torch.ones_like(surface.uvs[:, 0]), surface.faces, size, size)
    if not bool(charts.covered.any()):
        raise MeshError(
            "The mesh's texture coordinates cover no texel: unwrap it again with Unwrap Mesh UVs, or choose a larger "
            "texture."
        )
    colours, seen = _collect(surface, charts, views.at(*images.shape[1:3]), images, sharpness, check)
    texture, known = images.new_zeros(size, size, 3), torch.zeros_like(charts.covered)
    texture[charts.covered], known[charts.covered] = colours, seen
    if not bool(known.any()):
        raise MeshError("No view sees any of the mesh: make the views from this mesh.")
    unseen = charts.covered & ~known
    if bool(unseen.any()):
        texture[unseen] = _diffused(surface, charts, texture, known, check)[unseen]
    return Painted(_padded(texture, charts.covered, check).clamp(0, 1), known, charts.covered)


def _collect(surface: Surface, charts: Fragments, views: Views, images: Tensor, sharpness: float, check: Check):
    """The views' weighted mean at every charted texel [P, 3], and whether any view saw it [P]."""
    drawn = draw_views(surface, views, check)
    points = charts.interpolate(surface.vertices, surface.faces)[charts.covered]
    faces = charts.face[charts.covered]
    channels, found = images.permute(0, 3, 1, 2), []
    for start in range(0, len(points), TEXELS):
        check()
        part = slice(start, start + TEXELS)
        seen = look(surface, points[part], faces[part], views, drawn)
        places = seen.places.nan_to_num(0.0)[:, None]
        sampled = functional.grid_sample(channels, places.to(channels), padding_mode="border", align_corners=False)
        mean = (sampled[:, :, 0].transpose(1, 2) * seen.shares(sharpness)[..., None]).sum(0)
        found.append((mean, (seen.cosine > 0).any(0)))
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def _diffused(surface: Surface, charts: Fragments, texture: Tensor, known: Tensor, check: Check) -> Tensor:
    """Colours [T, T, 3] that are smooth over the surface and agree with what is known at the vertices."""
    same = surface.welded
    count = int(same.max()) + 1
    corners = same[surface.faces[charts.face[known]]]
    weights = charts.weights[known].clamp_min(1e-6)
    total = texture.new_zeros(count).index_add_(0, corners.flatten(), weights.flatten())
    summed = texture.new_zeros(count, 3)
    summed.index_add_(0, corners.flatten(), (weights[..., None] * texture[known][:, None]).flatten(0, 1))
    fixed = total > 0
    colours = torch.where(fixed[:, None], summed / total.clamp_min(1e-20)[:, None], texture[known].mean(0))
    edges = same[surface.faces[:, [0, 1, 1, 2, 2, 0]]].view(-1, 2)
    edges = torch.cat((edges, edges.flip(1)))
    reached = fixed.clone()
    degree = texture.new_zeros(count)
    for _ in range(ROUNDS):
        check()
        live = reached[edges[:, 1]]
        degree.zero_().index_add_(0, edges[:, 0], live.to(degree))
        around = torch.zeros_like(colours).index_add_(0, edges[:, 0], colours[edges[:, 1]] * live[:, None])
        free = ~fixed & (degree > 0)
        if not bool(free.any()):
            break
        colours[free] = around[free] / degree[free][:, None]
        reached = reached | free
    return charts.interpolate(colours[same], surface.faces)


def _padded(texture: Tensor, charted: Tensor, check: Check) -> Tensor:
    """The texture with its charts continued into the space between them, so that filtering draws in no background."""
    colours, known = texture.permute(2, 0, 1)[None] * charted, charted[None, None].to(texture)
    kernel = texture.new_ones(1, 1, 3, 3)
    for _ in range(min(max(4, len(texture) // 64), PADDING)):
        check()
        near = functional.conv2d(known, kernel, padding=1)
        spread = functional.conv2d(colours.transpose(0, 1), kernel, padding=1).transpose(0, 1) / near.clamp_min(1)
        new = (known == 0) & (near > 0)
        colours, known = torch.where(new, spread, colours), torch.where(new, 1.0, known)
    rest = texture[charted].mean(0)[None, :, None, None]
    return torch.where(known > 0, colours, rest)[0].permute(1, 2, 0)
