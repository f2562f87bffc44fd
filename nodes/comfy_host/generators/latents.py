"""The latents of generators that a graph hands from node to node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ....domain_guidance.generators import GeneratorFile
from ....domain_guidance.generators.relatedness import RELATED, cosine, mapping_weights
from ..node_text import Say, tell


@dataclass(frozen=True)
class Styles:
    """The value of a GENERATOR_LATENT socket.

    ws: [N, L, w_dim] in float32 on the CPU, one style for each of the synthesis' inputs, truncated already. mapping:
    the matrices of the mapping network that they are styles of.
    """

    ws: Tensor
    mapping: Mapping[str, Tensor] = field(default_factory=dict)


def given_styles(latent: Styles | None, file: GeneratorFile, say: Say) -> Tensor | None:
    """The styles of `latent`; a line is said where the generator has never learnt what they mean."""
    if latent is None:
        return None
    if latent.mapping and cosine(latent.mapping, mapping_weights(file)) < RELATED:
        tell(
            say,
            "latent comes from a generator that has nothing in common with this one, so the images will not resemble "
            "it; connect a latent of this generator or of one that it was trained from.",
        )
    return latent.ws
