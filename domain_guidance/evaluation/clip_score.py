"""How well pictures show a text, by CLIP."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity


def clip_score(images: Tensor, texts: Tensor) -> float:
    """Mean of 100 max(cos, 0) between CLIP embeddings of pictures and of their texts.

    Pictures [N, D], texts [N, D] or one text [1, D]. Hessel et al. 2021 (arXiv 2104.08718, equation 1), with the weight
    100 of most tables in place of their 2.5.
    """
    return 100 * cosine_similarity(images.double(), texts.double()).clamp_min(0).mean().item()
