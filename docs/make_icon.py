"""Draws the pack's icon and banner for the registry from the toy world: `python docs/make_icon.py`, seconds on a CPU.

The icon is one picture, its left half as the base draws it and its right half with domain guidance; the banner shows
the same prompts and noise without guidance above and with it below.
"""

import sys
from pathlib import Path

import torch
from PIL import Image

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent)]

from make_thumbnails import WEIGHT, draw, prompts

from domain_guidance.pictures.labelled_grid import to_picture
from domain_guidance.toy_world import comparison

ICON, COLUMNS, CELL, GAP = 400, 7, 126, 6


def icon(base, guided):
    return to_picture(torch.cat([base[..., :8], guided[..., 8:]], -1), ICON)


def banner(rows):
    sheet = Image.new("RGB", (COLUMNS * (CELL + GAP) + GAP, len(rows) * (CELL + GAP) + GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(to_picture(image, CELL), (GAP + x * (CELL + GAP), GAP + y * (CELL + GAP)))
    return sheet


def main():
    models = comparison.load_models()
    asked = prompts([3, 7, 5, 2, 8, 4, 6], [0, 1, 4, 2, 3, 0, 1], [-1] * COLUMNS)
    rows = [draw(models, asked, weight) for weight in (0.0, WEIGHT)]
    icon(rows[0][0], rows[1][0]).save(HERE / "icon.png", optimize=True)
    banner(rows).save(HERE / "banner.png", optimize=True)


if __name__ == "__main__":
    main()
