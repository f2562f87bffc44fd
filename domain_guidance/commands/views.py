"""What `generate` draws of an EG3D generator: views by many cameras, their depth and normals, and meshes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from math import prod, radians
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..generators import Eg3dGenerator, Generator
from ..generators.drawing import Drawing
from ..generators.eg3d import Mesh, depth_picture, extract_mesh, grid, normals, orbit
from .interrupts import Check

MAX_VIEWS = 10_000
MAX_GRID = 512  # points of a mesh's grid in each direction


def add_view_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("EG3D", "3D generators, which are drawn from the front unless you choose cameras")
    group.add_argument(
        "--camera",
        type=poses,
        metavar="POSES",
        help="orbit:24 along an ellipse, grid:3x5 in rows and columns, or yaw and pitch in degrees as in 20,-5; "
        "put = before a minus, as in --camera=-20,5",
    )
    group.add_argument(
        "--rays", type=int, help="rays along each side; more are slower and finer (default: as the file says)"
    )
    group.add_argument(
        "--samples", type=int, help="samples per ray, and as many again near surfaces (default: as the file says)"
    )
    group.add_argument("--depth", action="store_true", help="also draw depth, with near in white")
    group.add_argument("--normals", action="store_true", help="also draw surface normals")
    group.add_argument(
        "--mesh",
        type=int,
        metavar="N",
        help="also write a coloured mesh per seed as .ply, from a grid of N points along each side",
    )
    group.add_argument(
        "--density", type=float, default=10.0, help="density threshold of the mesh's surface (default: %(default)s)"
    )


def poses(text: str) -> Tensor:
    """`orbit:24`, `grid:3x5` or `20,-5` (yaw and pitch in degrees) as poses [N, 2] in radians."""
    try:
        return _poses(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a choice of cameras, expected orbit:24, grid:3x5 or degrees as in 20,-5"
        ) from error


def _poses(text: str) -> Tensor:
    if match := re.fullmatch(r"orbit:(\d{1,5})|grid:(\d{1,5})x(\d{1,5})", text):
        counts = [int(count) for count in match.groups() if count]
        if not 1 <= prod(counts) <= MAX_VIEWS:
            raise ValueError(text)
        return orbit(*counts) if match[1] else grid(*counts)
    yaw, pitch = (radians(float(degrees)) for degrees in text.split(","))
    if not (abs(yaw) < 1000 and abs(pitch) < radians(90)):
        raise ValueError(text)
    return torch.tensor([[yaw, pitch]])


def check_view_options(options: argparse.Namespace, generator: Generator | Eg3dGenerator) -> None:
    """Raises ValueError for options that this generator, or this way to write, has no use for."""
    given = [
        name
        for name in ("camera", "rays", "samples", "depth", "normals", "mesh")
        if getattr(options, name) is not None and getattr(options, name) is not False
    ]
    if given and not isinstance(generator, Eg3dGenerator):
        raise ValueError(
            f"--{given[0]} needs a 3D generator, and this one is flat: leave it out, or give an EG3D generator."
        )
    if options.label is not None and isinstance(generator, Eg3dGenerator):
        raise ValueError("A label was given, but an EG3D generator takes a camera instead: give --camera.")
    if options.mesh is not None and not 2 <= options.mesh <= MAX_GRID:
        raise ValueError(f"--mesh is {options.mesh}: give the points of its grid in each direction, 2 to {MAX_GRID}.")
    beside = [name for name in ("depth", "normals", "mesh") if name in given]
    if beside and options.out.suffix.lower() == ".png":
        raise ValueError(f"--{beside[0]} writes files beside the pictures: give a folder as --out.")


@torch.no_grad()
def draw_views(generator: Eg3dGenerator, drawing: Drawing, options: argparse.Namespace) -> Iterator[tuple[str, Tensor]]:
    """All views of one seed, with depth and normals where they are asked for.

    Yields what is added to the seed's name, and a picture [3, H, W] in [-1, 1].
    """
    several = options.camera is not None and len(options.camera) > 1
    cameras = generator.cameras(options.camera)
    rendering = generator.config.rendering.at(options.rays, options.samples)
    random = torch.Generator().manual_seed(drawing.noise_seed(0))
    views = generator.views(
        drawing.styles(generator), cameras, noise=options.noise, generator=random, rendering=rendering
    )
    for number, (view, camera) in enumerate(zip(views, cameras)):
        name = f"-{number:04d}" if several else ""
        yield name, view.image[0]
        if options.depth:
            yield f"{name}-depth", 2 * depth_picture(view.depth[0], rendering.near, rendering.far).expand(3, -1, -1) - 1
        if options.normals:
            yield f"{name}-normals", normals(view.depth, camera[None])[0]


@torch.no_grad()
def write_mesh(
    generator: Eg3dGenerator, drawing: Drawing, options: argparse.Namespace, path: Path, check: Check
) -> None:
    """The seed's surface as a .ply file. check: called between parts of its grid.

    Raises ValueError if its density is nowhere high enough.
    """
    planes = generator.planes(drawing.styles(generator), noise="none" if options.noise == "none" else "const")
    path.write_bytes(ply(extract_mesh(generator, planes, resolution=options.mesh, level=options.density, check=check)))


def ply(mesh: Mesh) -> bytes:
    """A mesh as a binary PLY file's content, with a colour at each vertex."""
    vertices = np.empty(len(mesh.vertices), dtype=[("place", "<f4", 3), ("colour", "u1", 3)])
    vertices["place"], vertices["colour"] = mesh.vertices.cpu().numpy(), (255 * mesh.colours).round().cpu().numpy()
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces.cpu().numpy()
    places = [f"property float {axis}" for axis in "xyz"] + [
        f"property uchar {colour}" for colour in ("red", "green", "blue")
    ]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}", *places]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(head).encode() + vertices.tobytes() + faces.tobytes()
