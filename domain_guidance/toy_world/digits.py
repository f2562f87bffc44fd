"""The handwriting: scikit-learn's 1,797 real 8x8 digits (UCI, Alpaydin and Kaynak 1998), split once and for all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .model import IMAGE_SIZE

SPLIT_SEED = 20231213
SPLIT_SIZES = {"base": 800, "domain": 500, "held_out": 497}


@dataclass(frozen=True)
class Digits:
    """Ink `[N,8,8]` in [0,1] and the digit `[N]` that each shows."""

    ink: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: torch.Tensor) -> Digits:
        return Digits(self.ink[indices], self.labels[indices])

    def joined(self, other: Digits) -> Digits:
        return Digits(torch.cat([self.ink, other.ink]), torch.cat([self.labels, other.labels]))


def load_digits(split: str) -> Digits:
    """One of three disjoint parts: `base` (800) trains the base, `domain` (500) the domain, `held_out` (497) nobody.

    Whatever is measured is measured against `held_out`. Needs scikit-learn (the extra `demo`).
    """
    if split not in SPLIT_SIZES:
        raise ValueError(f"There is no split {split!r}; choose one of {', '.join(SPLIT_SIZES)}.")
    from sklearn.datasets import load_digits as read_bundled_digits

    pixels, labels = read_bundled_digits(return_X_y=True)  # [N, 64] of 0 to 16, and [N]
    everything = Digits(torch.from_numpy(pixels).float().reshape(-1, 8, 8) / 16, torch.from_numpy(labels).long())
    return everything.take(split_indices()[split])


def split_indices() -> dict[str, torch.Tensor]:
    """The split by digit index: a seeded permutation, because the file lists one writer after the other."""
    order = torch.randperm(sum(SPLIT_SIZES.values()), generator=torch.Generator().manual_seed(SPLIT_SEED))
    return dict(zip(SPLIT_SIZES, order.split(list(SPLIT_SIZES.values()))))


def place(ink: torch.Tensor, box: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Scale 8x8 ink to a square and move it: opacity `[N,1,16,16]`.

    box: `[N]`, the side of the square in pixels. shift: `[N,2]` (x, y), pixels off the centre.
    """
    zoom = IMAGE_SIZE / box
    theta = torch.zeros(len(ink), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = -shift * 2 / box[:, None]
    grid = F.affine_grid(theta, [len(ink), 1, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    opacity = F.grid_sample(ink[:, None], grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    return (1.2 * opacity).clamp(0, 1)
