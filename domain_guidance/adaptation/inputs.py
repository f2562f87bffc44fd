"""What a generator reads beside latents and styles, and how an adaptation draws it, by architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..generators import Eg3dGenerator, Generator
from ..generators.eg3d import random_poses
from ..runs import Share


class Inputs(Protocol):
    """What a generator's architecture reads besides latents, drawn for an adaptation.

    It is drawn on the CPU for the batch of all shares, of which this share's `count` is given.
    """

    def labels(self, count: int, random: torch.Generator, share: Share) -> Tensor | None:
        """What the mapping reads, [count, c_dim]; None for its own default."""
        ...

    def views(self, count: int, random: torch.Generator, share: Share) -> tuple[Tensor, ...]:
        """What the synthesis reads after the styles."""
        ...

    def shown_label(self, seed: int) -> Tensor | None:
        """What the mapping reads for a picture that is only looked at, [1, c_dim]."""
        ...


@dataclass(frozen=True)
class Classes:
    """Inputs of a StyleGAN2, which may know classes (our choice).

    Training draws from all classes alike; pictures to look at take them one after the other.
    """

    generator: Generator

    def labels(self, count: int, random: torch.Generator, share: Share) -> Tensor | None:
        classes = self.generator.config.c_dim
        return (
            self._one_hot(share.of(torch.randint(classes, (share.count * count,), generator=random)))
            if classes
            else None
        )

    def views(self, count: int, random: torch.Generator, share: Share) -> tuple[Tensor, ...]:
        return ()

    def shown_label(self, seed: int) -> Tensor | None:
        classes = self.generator.config.c_dim
        return self._one_hot(torch.tensor([seed % classes])) if classes else None

    def _one_hot(self, classes: Tensor) -> Tensor:
        return torch.eye(self.generator.config.c_dim)[classes].to(self.generator.mapping.w_avg)


@dataclass(frozen=True)
class Cameras:
    """Inputs of an EG3D: cameras from anywhere on the paper's ellipse.

    Pictures to look at are seen from the front.
    """

    generator: Eg3dGenerator

    def labels(self, count: int, random: torch.Generator, share: Share) -> Tensor | None:
        return None

    def views(self, count: int, random: torch.Generator, share: Share) -> tuple[Tensor, ...]:
        return (self.generator.cameras(share.of(random_poses(share.count * count, random))),)

    def shown_label(self, seed: int) -> Tensor | None:
        return None


INPUTS = {"stylegan2": Classes, "eg3d": Cameras}
