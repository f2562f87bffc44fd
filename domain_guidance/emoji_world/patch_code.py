"""The latents: every patch of 8x8 pixels as its 32 strongest principal components.

A linear code needs no training, gives back lines and flat colours as they were, and is found in a second. Its channels
are brought half of the way to one spread, so that fine detail stays weaker than shapes and is drawn after them, as it
is in pixels, without drowning in the first noise levels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .model import CELL, CHANNELS

EVENNESS = 0.5  # 0 leaves the components as strong as they are, 1 makes all of them equally strong
COLOURS = 3


class PatchCode(nn.Module):
    """A linear code of pictures, with the names and shapes that hosts expect of a VAE's network."""

    basis: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("basis", torch.zeros(CHANNELS, COLOURS, CELL, CELL))
        self.register_buffer("mean", torch.zeros(COLOURS, CELL, CELL))
        self.register_buffer("scale", torch.ones(CHANNELS))

    def encode(self, images: Tensor) -> Tensor:
        """Pictures [N, 3, H, W] in [-1, 1] as latents [N, 32, H / 8, W / 8]."""
        tiles = self.mean.repeat(1, images.shape[-2] // CELL, images.shape[-1] // CELL)
        return F.conv2d(images - tiles, self.basis / self.scale.view(-1, 1, 1, 1), stride=CELL)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [N, 32, h, w] as pictures [N, 3, 8 h, 8 w], which may leave [-1, 1] a little."""
        patches = F.conv_transpose2d(latents * self.scale.view(-1, 1, 1), self.basis, stride=CELL)
        return patches + self.mean.repeat(1, *latents.shape[-2:])

    def colours(self) -> Tensor:
        """The channels as red, green and blue [32 + 1, 3] of a whole cell, then what is added, for previews."""
        each = self.basis.mean((2, 3)) * self.scale[:, None]
        return torch.cat([each, self.mean.mean((1, 2))[None]])


@torch.no_grad()
def fit(pictures: Tensor) -> PatchCode:
    """The code of these pictures [N, 3, H, W]. Their latents have a mean square of 1 over all channels."""
    patches = F.unfold(pictures, CELL, stride=CELL).transpose(1, 2).flatten(0, 1).double()
    mean = patches.mean(0)
    variance, components = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    strongest = variance.argsort(descending=True)[:CHANNELS]
    scale = variance[strongest].sqrt() ** EVENNESS
    scale = scale * (variance[strongest] / scale.square()).mean().sqrt()
    code = PatchCode()
    code.basis.copy_(components[:, strongest].T.reshape(code.basis.shape))
    code.mean.copy_(mean.view(code.mean.shape))
    code.scale.copy_(scale)
    return code
