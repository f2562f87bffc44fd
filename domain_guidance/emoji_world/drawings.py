"""Other people's drawings, rendered once from the packages that a person has unpacked into a folder.

The packages are Iconify's for the sets in `things.HANDS` and `things.DOMAINS`, and LobeHub's for the glossy renders.
Nothing is downloaded here; `NOTICE.md` beside this file says whose drawings they are, and under which licences.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..files.atomic_file import save_tensors
from .things import DOMAINS, HANDS, THINGS

SIDE = 128  # pixels of a stored drawing, twice those of a picture
GLOSSY = "fluent-emoji-3d"  # the one set that is pictures, named by code point
CODE_POINTS = "fluent-emoji-flat"  # the set whose `chars.json` says which code point has which name
ICON_SETS = {**HANDS, **DOMAINS}
# npm's name of each set: LobeHub has packages of the same last name as Iconify's.
PACKAGES = {name: f"@lobehub/{name}" if name == GLOSSY else f"@iconify-json/{name}" for name in ICON_SETS.values()}

# Categories of the sets whose drawings are of things; flags, signs and symbols are not.
CATEGORIES = (
    "Activities",
    "Animals & Nature",
    "Food & Drink",
    "Objects",
    "People & Body",
    "Smileys & Emotion",
    "Travel & Places",
)


def render(packages: Path) -> tuple[list[str], dict[str, Tensor]]:
    """The names of drawings, and each in every hand, uint8 RGBA [N, 4, 128, 128]: THINGS, then others in every set.

    packages: a folder that holds the unpacked packages, in folders of any name. Raises FileNotFoundError for a package
    that is not there and ValueError for a set without one of the things. Needs resvg-py.
    """
    folders = dict(_packages(packages))
    names = [*THINGS.values(), *_others(folders, packages)]
    drawn = {}
    for hand, icon_set in ICON_SETS.items():
        folder = _folder(folders, icon_set, packages)
        images = _renders(names, folders, packages) if icon_set == GLOSSY else _vectors(names, folder)
        drawn[hand] = torch.stack([_as_tensor(image) for image in images])
    return names, drawn


def write_drawings(path: Path, names: Sequence[str], drawn: Mapping[str, Tensor]) -> None:
    save_tensors(path, drawn, {"names": json.dumps(list(names))})


def read_drawings(path: Path) -> dict[str, Tensor]:
    """The drawings of THINGS in each hand as premultiplied colour and opacity in [0, 1], [N, 4, 128, 128]."""
    return {hand: _premultiplied(pixels[: len(THINGS)]) for hand, pixels in load_file(path).items()}


def read_others(path: Path) -> tuple[list[str], dict[str, Tensor]]:
    """The names of drawings that no word asks for, and each hand's, as `read_drawings` gives those of THINGS."""
    with safe_open(path, "pt") as file:
        names = json.loads(file.metadata()["names"])
    return names[len(THINGS) :], {
        hand: _premultiplied(pixels[len(THINGS) :]) for hand, pixels in load_file(path).items()
    }


def _premultiplied(pixels: Tensor) -> Tensor:
    straight = pixels.float() / 255
    return torch.cat([straight[:, :3] * straight[:, 3:], straight[:, 3:]], dim=1)


def _others(folders: Mapping[str, Path], where: Path) -> list[str]:
    """What every set has a drawing of, in the sets' own order, and no thing is."""
    vectors = [_folder(folders, name, where) for name in PACKAGES if name != GLOSSY]
    everywhere = [set(_read(package / "icons.json")["icons"]) for package in vectors]
    glossy = {name for name, file in _glossy_files(folders, where) if file.is_file()}
    categories = _read(vectors[0] / "metadata.json")["categories"]
    named = [name for category in CATEGORIES for name in categories.get(category, [])]
    drawn = glossy.intersection(*everywhere) - set(THINGS.values())
    return [name for name in dict.fromkeys(named) if name in drawn]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _packages(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every unpacked package below a folder, by its name."""
    for manifest in sorted(folder.glob("**/package.json")):
        yield _read(manifest).get("name", ""), manifest.parent


def _folder(folders: Mapping[str, Path], name: str, where: Path) -> Path:
    package = PACKAGES[name]
    if package not in folders:
        raise FileNotFoundError(
            f"'{where}' holds no package '{package}': fetch it with `npm pack {package}` and unpack it there."
        )
    return folders[package]


def _vectors(names: Sequence[str], package: Path) -> Iterator[Image.Image]:
    icons = _read(package / "icons.json")
    for name in names:
        if name not in icons["icons"]:
            raise ValueError(f"'{package.name}' has no drawing '{name}': take it out of the things, or rename it.")
        yield _rasterised(_svg(icons["icons"][name], icons))


def _svg(icon: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """A drawing of an Iconify set as a document of its own."""
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = (icon.get(side, defaults.get(side, 16)) for side in ("width", "height"))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{SIDE}" height="{SIDE}">{icon["body"]}</svg>'
    )


def _rasterised(svg: str) -> Image.Image:
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise ImportError(
            "The drawings are vectors and resvg-py, which renders them, is not installed: install it with "
            "`pip install resvg-py`."
        ) from error
    return Image.open(io.BytesIO(bytes(svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE))))


def _renders(names: Sequence[str], folders: Mapping[str, Path], where: Path) -> Iterator[Image.Image]:
    files = {name: file for name, file in _glossy_files(folders, where) if file.is_file()}
    for name in names:
        if name not in files:
            raise ValueError(f"'{GLOSSY}' has no picture of '{name}': take it out of the things.")
        with Image.open(files[name]) as image:
            yield image.convert("RGBA")


def _glossy_files(folders: Mapping[str, Path], where: Path) -> Iterator[tuple[str, Path]]:
    """Each name with the file that its code point would have; a name may have several code points."""
    assets = _folder(folders, GLOSSY, where) / "assets"
    for code, name in _read(_folder(folders, CODE_POINTS, where) / "chars.json").items():
        yield name, assets / f"{code}.webp"


def _as_tensor(image: Image.Image) -> Tensor:
    """uint8 RGBA [4, 128, 128]; colours are averaged by their opacity where the image is larger."""
    premultiplied = image.convert("RGBA").convert("RGBa")
    small = premultiplied.resize((SIDE, SIDE), Image.Resampling.BOX).convert("RGBA")
    pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return pixels.view(SIDE, SIDE, 4).permute(2, 0, 1).contiguous()
