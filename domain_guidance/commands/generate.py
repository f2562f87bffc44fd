"""`python -m domain_guidance generate`: pictures of a generator, each from its own seed alone."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import torch
from PIL import Image
from torch import Tensor

from ..generators import Eg3dGenerator, Generator, Noise, build_generator, open_generator_file
from ..generators.drawing import Drawing
from ..pictures.axes_grid import mosaic
from ..pictures.pixels import as_picture
from .command import Command
from .interrupts import Check
from .views import add_view_options, check_view_options, draw_views, write_mesh

logger = logging.getLogger(__name__)
MAX_SEEDS = 100_000


def add_generate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="generator file, or any file that convert reads")
    parser.add_argument(
        "--seeds",
        type=seeds,
        default=[*range(16)],
        help="seeds such as 0-15 or 3,7,20-24, which draw what they draw in NVIDIA's tools (default: 0-15)",
    )
    parser.add_argument(
        "--truncation",
        type=float,
        default=0.7,
        help="truncation psi: 1 for full variety, 0 for the average picture (default: %(default)s)",
    )
    parser.add_argument(
        "--cutoff", type=int, help="number of styles to truncate, counted from the coarsest (default: all)"
    )
    parser.add_argument("--label", type=int, help="class to draw, for a class-conditional generator")
    parser.add_argument(
        "--noise",
        choices=get_args(Noise),
        default="const",
        help="noise in the layers: const is the file's own, random is new for each seed (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="a .png with all pictures side by side, or a folder for one picture per seed",
    )
    add_view_options(parser)


def seeds(text: str) -> list[int]:
    """`3,7,20-24` as numbers."""
    chosen: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < 2**64:
            raise argparse.ArgumentTypeError(
                f"'{text}' is not a list of seeds, expected numbers and rising ranges such as 3,7,20-24"
            )
        if len(chosen) + last - first >= MAX_SEEDS:
            raise argparse.ArgumentTypeError(f"'{text}' names more than {MAX_SEEDS:,} seeds")
        chosen += range(first, last + 1)
    return chosen


def generate(options: argparse.Namespace, check: Check) -> None:
    """Draw as the options say. check: called between pictures.

    Raises GeneratorFileError or ValueError with one sentence.
    """
    check_out(options.out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = build_generator(open_generator_file(options.file)).to(device)
    check_view_options(options, generator)
    drawn = []
    for seed in options.seeds:
        drawing = Drawing(seed, truncation=options.truncation, cutoff=options.cutoff, label=options.label)
        for name, image in _images(generator, drawing, options):
            check()
            if options.out.suffix.lower() == ".png":
                drawn.append(as_picture(image))
            else:
                options.out.mkdir(parents=True, exist_ok=True)
                _save(as_picture(image), options.out / f"seed{seed:06d}{name}.png")
        if options.mesh and isinstance(generator, Eg3dGenerator):
            write_mesh(generator, drawing, options, options.out / f"seed{seed:06d}.ply", check)
    if drawn:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        _save(mosaic(drawn, gap=0), options.out)


def check_out(out: Path) -> None:
    """Raises ValueError for a picture of another format, of whose name there would else be a folder."""
    if out.suffix.lower() not in ("", ".png") and not out.is_dir():
        raise ValueError(
            f"--out is '{out.name}': name a .png for all in one picture, or a folder that exists or has no dot "
            "in its name."
        )


def _images(
    generator: Generator | Eg3dGenerator, drawing: Drawing, options: argparse.Namespace
) -> Iterator[tuple[str, Tensor]]:
    """What a seed gives, by what is added to its name."""
    if isinstance(generator, Eg3dGenerator):
        yield from draw_views(generator, drawing, options)
    else:
        yield "", draw(generator, drawing, options.noise)


@torch.no_grad()
def draw(generator: Generator, drawing: Drawing, noise: Noise) -> Tensor:
    """One image [3, R, R]. One at a time, so that neighbours in a batch cannot change a digit of it."""
    random = torch.Generator().manual_seed(drawing.noise_seed(0))
    return generator.synthesis(drawing.styles(generator), noise=noise, generator=random)[0]


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path)
    logger.info("'%s' is drawn", path)


GENERATE = Command(
    name="generate",
    summary="draw pictures with a generator",
    add_options=add_generate_options,
    run=generate,
)
