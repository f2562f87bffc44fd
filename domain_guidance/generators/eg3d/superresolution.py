"""The super-resolution of EG3D: two blocks of a StyleGAN2.

arXiv 2112.07945, section 4.3. Both blocks double their input, or, in the variants for smaller images, only the last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..stylegan2 import Block, Noise
from .layout import Eg3dConfig


class SuperResolution(nn.Module):
    """Rendered features to the final image, all layers driven by one style."""

    def __init__(self, config: Eg3dConfig):
        super().__init__()
        first, second = config.superresolution_widths
        self.pixels = config.enlarged_from
        doubles = config.superresolution_doublings == 2
        self.block0 = Block(config.features, first, config.resolution // 2, config.superresolution, up=doubles)
        self.block1 = Block(first, second, config.resolution, config.superresolution)

    def forward(
        self,
        features: Tensor,
        w: Tensor,
        *,
        noise: Noise = "none",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Small images and their features [N, C, r, r] to images [N, 3, R, R].

        The first three features are the small image in [-1, 1]. ws: styles [N, w_dim]. dtype: of the feature maps.
        """
        if features.shape[-1] != self.pixels:
            features = F.interpolate(
                features, (self.pixels, self.pixels), mode="bilinear", align_corners=False, antialias=True
            )
        x, image, styles = features.to(dtype or features.dtype), features[:, :3], w[:, None].expand(-1, 3, -1)
        for block in (self.block0, self.block1):
            x, image = block(x, image, styles, noise, generator)
        return image
