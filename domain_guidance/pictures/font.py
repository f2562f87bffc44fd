"""The font of every picture that the library draws."""

from __future__ import annotations

from PIL import ImageFont


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that a picture looks the same on every machine. size: in pixels."""
    return ImageFont.load_default(size)
