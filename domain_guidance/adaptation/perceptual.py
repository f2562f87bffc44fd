"""The perceptual distance between pictures, where its weights are at hand: nothing is ever downloaded for it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Pictures [N, 3, R, R] and others of that size, in [-1, 1] -> a distance for each pair, with a graph to the first."""

STRENGTH = 2000.0  # the paper's factor beside its lambda
BACKBONE = "vgg16-397923af.pth"  # torchvision's name for it


def find_perceptual(device: torch.device | str) -> Perceptual:
    """LPIPS (arXiv 1801.03924, VGG), from the installed package `lpips` and weights that torch.hub has.

    Raises ValueError without.
    """
    if find_spec("lpips") is None:
        raise ValueError(
            "The perceptual term needs the package lpips, which is not installed: install it, or set perceptual to 0."
        )
    weights = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE
    if not weights.is_file():
        raise ValueError(
            f"The perceptual term needs VGG's weights at '{weights}', where there are none: put them there, or set "
            "perceptual to 0."
        )
    import lpips

    return lpips.LPIPS(net="vgg", verbose=False).requires_grad_(False).eval().to(device)
