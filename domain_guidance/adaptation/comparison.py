"""Source and adapted pictures of the same seeds, one above the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from ..pictures.pixels import as_picture
from .pair import AdaptedPair


def comparison_picture(pair: AdaptedPair, seeds: Sequence[int], psi: float = 0.7) -> Image.Image:
    """A row of the source's pictures above the adapted generator's, in the order of the seeds. psi: truncation."""
    rows = [torch.cat(list(row), dim=2) for row in pair.compare(seeds, psi)]
    return as_picture(torch.cat(rows, dim=1))
