"""One image file, of whatever kind, as a tensor of pixels."""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO, cast

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from .deep_grey import DARK, GreyScale, grey_scale, is_dark, is_deep_grey
from .png_metadata import PNG_SIGNATURE, WithoutMetadata

# AVIF is read where Pillow was built with it.
AVIF = ((".avif", "AVIF"),) if features.check("avif") else ()
TIFF = (".tif", ".tiff")
KINDS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".apng": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    **dict.fromkeys(TIFF, "TIFF"),
    ".gif": "GIF",
    **dict(AVIF),
}
EXTENSIONS = frozenset(KINDS)
# Named to Pillow, so that a file of another kind under one of these names never reaches a decoder nobody asked for.
FORMATS = tuple(dict.fromkeys(KINDS.values()))
# EXIF 2.32, tag 0x0112: how the stored picture is turned or mirrored to stand upright.
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's own limit at the time of writing, here so that what can be used does not depend on what a host has set.
MAX_PIXELS = 89_478_485
# What Pillow's decoders and its EXIF reader raise on damaged files; 12,000 files damaged at random raised nothing else.
DAMAGED = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, struct.error, zlib.error)

TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class ImageError(ValueError):
    """One image that cannot be used; the message is the reason, without the image's name."""


class UnreadableImage(ImageError):
    """The system did not hand the file over. Its content may be good, so a later run should try again."""


def read_image(path: str | os.PathLike) -> Tensor:
    """The picture in a file, [3, H, W] in [-1, 1], fp32, turned upright by its EXIF orientation.

    Our choices: transparency is laid over white; of an animation or a document the first picture is taken; grey of 12
    and 16 bits keeps its precision, 16-bit colour the upper eight bits that Pillow reads; colour profiles are not
    applied, and other metadata is not looked at, so that trouble with it costs no picture. Raises ImageError for what
    cannot be decoded, UnreadableImage for what cannot be opened.
    """
    try:
        with open(path, "rb") as file:
            return _decoded(file)
    except TOO_LARGE as error:
        raise ImageError(f"it is too large ({error}): make it smaller") from error
    except Image.UnidentifiedImageError as error:
        *kinds, last = ["WebP" if kind == "WEBP" else kind for kind in FORMATS]
        raise ImageError(f"it is not a {', '.join(kinds)} or {last} image, despite its name: convert it") from error
    except ImageError:
        raise
    except DAMAGED as error:
        raise _reason(error) from error


def is_animation(path: str | os.PathLike) -> bool:
    """Whether a file that `read_image` reads holds a film, which pages of a TIFF and a phone's second JPEG are not."""
    try:
        with Image.open(path, formats=tuple({*FORMATS} - {"TIFF", "JPEG"})) as image:
            return getattr(image, "is_animated", False)
    except DAMAGED:  # another kind, or metadata that only `read_image` gets past
        return False


def darkness(path: str | os.PathLike) -> str:
    """What to say of a grey picture that `read_image` reads almost black; empty for any other."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return DARK if is_dark(image) else ""
    except DAMAGED:
        return ""


def has_unusual_grey(path: str | os.PathLike) -> bool:
    """Whether a TIFF is grey of 12 bits, or deep grey whose levels fall."""
    try:
        with Image.open(path, formats=("TIFF",)) as image:
            return not grey_scale(image).is_usual
    except (*DAMAGED, *TOO_LARGE):
        return False


def _decoded(file: BinaryIO) -> Tensor:
    try:
        return _read(file)
    except DAMAGED:
        # A PNG may still be whole as a picture: Pillow gives up on texts or profiles beyond its limits, as workflows
        # in pictures are, and on damage to either.
        file.seek(0)
        if file.read(len(PNG_SIGNATURE)) != PNG_SIGNATURE:
            raise
    return _read(cast("BinaryIO", WithoutMetadata(file)))


def _read(file: BinaryIO) -> Tensor:
    with Image.open(file, formats=FORMATS) as image:
        _check_size(image)
        image.load()
        return _pixels(_upright(image), grey_scale(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except DAMAGED:  # of the metadata alone, for the pixels are there
        return image
    return image if turn is None else image.transpose(turn)


def _reason(error: Exception) -> ImageError:
    # Only the operating system's errors carry a number; Pillow's "image file is truncated" is an OSError as well.
    if isinstance(error, OSError) and error.errno is not None:
        return UnreadableImage(f"it cannot be read ({error.strerror}): check the file and its permissions")
    return ImageError(f"it is damaged ({error}): save or copy it again")


def _check_size(image: Image.Image) -> None:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise ImageError(
            f"it is too large ({image.width}x{image.height} is {pixels / 1e6:.0f} megapixels, the limit is "
            f"{MAX_PIXELS / 1e6:.0f}): make it smaller"
        )


def _pixels(image: Image.Image, scale: GreyScale) -> Tensor:
    if image.mode == "F":
        raise ImageError("it holds floating-point values without an agreed range: convert it to 8 or 16 bits")
    if is_deep_grey(image):
        values = _deep_grey(image, scale)
    elif "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        values = _over_white(np.asarray(image.convert("RGBA"), dtype=np.float32) / 255)
    else:
        values = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(values * 2 - 1).permute(2, 0, 1).contiguous()


def _deep_grey(image: Image.Image, scale: GreyScale) -> np.ndarray:
    levels = np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > scale.white:
        raise ImageError(
            f"its grey levels run from {levels.min()} to {levels.max()}, expected 0 to {scale.white}: convert it to 16 "
            "bits"
        )
    if scale.falling:
        levels = scale.white - levels
    if "transparency" in image.info:  # PNG's one transparent grey level
        levels[levels == image.info["transparency"]] = scale.white
    return np.repeat((levels / scale.white).astype(np.float32)[:, :, None], 3, axis=2)


def _over_white(rgba: np.ndarray) -> np.ndarray:
    colour, alpha = rgba[:, :, :3], rgba[:, :, 3:]
    return colour * alpha + (1 - alpha)
