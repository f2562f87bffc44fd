"""The tri-plane (arXiv 2112.07945, section 4.2): a volume's features, kept on three planes through the origin."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

# The coordinates that each plane reads, across and down. The third was meant to be (y, z); the published weights were
# trained with this one.
AXES = ((0, 1), (0, 2), (2, 0))


def plane_features(planes: Tensor, points: Tensor, box: float) -> Tensor:
    """Features [N, P, C] of points [N, P, 3], the mean over planes [N, 3, C, H, W].

    box: edge of the cube that the planes cover; features are 0 outside.
    """
    places = (points * (2 / box))[..., AXES].transpose(1, 2)  # [N, 3, P, 2]
    features = F.grid_sample(
        planes.flatten(0, 1), places.flatten(0, 1)[:, None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return features.unflatten(0, planes.shape[:2]).mean(1)[:, :, 0].transpose(1, 2)
