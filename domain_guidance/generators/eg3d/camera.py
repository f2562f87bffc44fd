"""Cameras: the matrix from camera to world and the intrinsics, 25 numbers each.

The matrix is 4x4 and the intrinsics, for an image of size 1, are 3x3, both row by row. World: y up; a face looks along
z, at the camera of yaw 0. Camera: x right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor

FOCAL = 4.2647
YAW, PITCH, TILT = 0.35, 0.25, -0.05  # radians: the ellipse of the adaptation, and the pitch of its centre


def cameras(
    poses: Tensor, *, radius: float = 2.7, pivot: Sequence[float] = (0.0, 0.0, 0.2), focal: float = FOCAL
) -> Tensor:
    """Cameras [N, 25] on a sphere about the origin, upright and looking at the pivot.

    poses: [N, 2], yaw and pitch in radians. yaw: positive moves the camera to where x is positive. pitch: how far it
    looks up, so positive moves it below. The centre of the sphere is the origin and not the pivot [choice]: at the
    published radius, 2.7, the published rays, 2.25 to 3.3, then enclose the volume from everywhere. Raises ValueError
    for a camera straight above or below.
    """
    yaw, pitch = poses.unbind(1)
    if not bool((pitch.abs() < pi / 2).all()):
        raise ValueError(
            f"A pitch of {float(pitch[pitch.abs().argmax()]):.2f} is given, expected radians between -1.57 and 1.57."
        )
    place = radius * torch.stack((yaw.sin() * pitch.cos(), -pitch.sin(), yaw.cos() * pitch.cos()), dim=1)
    return camera_parameters(look_at(place, place.new_tensor(pivot).expand_as(place)), focal)


def look_at(place: Tensor, target: Tensor) -> Tensor:
    """Matrices [N, 4, 4] from camera to world of upright cameras at `place` [N, 3] that look at `target` [N, 3]."""
    forward = torch.nn.functional.normalize(target - place, dim=1)
    right = torch.nn.functional.normalize(
        torch.linalg.cross(forward, forward.new_tensor([0.0, 1.0, 0.0]).expand_as(forward)), dim=1
    )
    down = torch.linalg.cross(forward, right)
    bottom = place.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(place), 1, 4)
    return torch.cat((torch.stack((right, down, forward, place), dim=2), bottom), dim=1)


def camera_parameters(matrices: Tensor, focal: float = FOCAL) -> Tensor:
    """Cameras [N, 25] of matrices [N, 4, 4] from camera to world, their centre in the middle of the image."""
    intrinsics = matrices.new_tensor([focal, 0, 0.5, 0, focal, 0.5, 0, 0, 1])
    return torch.cat((matrices.flatten(1), intrinsics.expand(len(matrices), 9)), dim=1)


def split(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Cameras [N, 25] as matrices [N, 4, 4] from camera to world and intrinsics [N, 3, 3].

    Raises ValueError for another shape.
    """
    if parameters.ndim != 2 or parameters.shape[1] != 25:
        raise ValueError(
            f"The cameras are of shape {list(parameters.shape)}, expected [N, 25]: give a matrix of 16 and "
            "intrinsics of 9 numbers each."
        )
    return parameters[:, :16].unflatten(1, (4, 4)), parameters[:, 16:].unflatten(1, (3, 3))


def ellipse(turns: Tensor, *, yaw: float = YAW, pitch: float = PITCH, tilt: float = TILT) -> Tensor:
    """Poses [N, 2] on an ellipse of these half axes about (0, tilt) (arXiv 2212.04473).

    turns: [N], 0 to 1 for once around.
    """
    return torch.stack((yaw * (2 * pi * turns).sin(), tilt + pitch * (2 * pi * turns).cos()), dim=1)


def orbit(count: int, **axes: float) -> Tensor:
    """Poses [count, 2] evenly around the ellipse, for frames that repeat. axes: see `ellipse`."""
    return ellipse(torch.arange(count) / count, **axes)


def random_poses(count: int, generator: torch.Generator, **axes: float) -> Tensor:
    """Poses [count, 2] anywhere on the ellipse, on the generator's device."""
    return ellipse(torch.rand(count, generator=generator, device=generator.device), **axes)


def grid(rows: int, columns: int, *, yaw: float = YAW, pitch: float = PITCH) -> Tensor:
    """Poses [rows * columns, 2], row by row: from -yaw to yaw, and from above down.

    A single row or column is the middle one.
    """
    pitches = torch.linspace(-pitch, pitch, rows) if rows > 1 else torch.zeros(1)
    yaws = torch.linspace(-yaw, yaw, columns) if columns > 1 else torch.zeros(1)
    return torch.cartesian_prod(pitches, yaws).flip(1)
