"""Whether two generators have an origin in common, told from their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .generator_file import GeneratorFile

RELATED = 0.1  # our choice: weights trained apart have a cosine within a hundredth of 0
MAPPING = re.compile(r"(?:^|\.)(mapping\.fc\d+\.weight)$")


def relatedness(first: GeneratorFile, second: GeneratorFile) -> float:
    """The cosine between the convolution weights of two generators of the same sizes.

    1 for the same, about 0 where neither was trained from the other nor both from a third; related from RELATED up.
    """
    ends = (".conv0.weight", ".conv1.weight")
    return cosine(
        *(
            {name: file.weights[name] for name in first.weights if name.startswith("synthesis") and name.endswith(ends)}
            for file in (first, second)
        )
    )


def mapping_weights(file: GeneratorFile) -> dict[str, Tensor]:
    """The matrices of the network that turns latents into styles, by their names in a StyleGAN2."""
    found = ((MAPPING.search(name), tensor) for name, tensor in file.weights.items())
    return {match[1]: tensor for match, tensor in found if match}


def cosine(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Of all tensors of two mappings as one vector; 0 where their names or shapes differ."""
    shapes, others = ({name: tensor.shape for name, tensor in each.items()} for each in (first, second))
    if shapes != others:
        return 0.0
    products = torch.zeros(3, dtype=torch.float64)
    for name, tensor in first.items():
        a, b = tensor.float().flatten(), second[name].float().flatten()
        products += torch.stack([a @ b, a @ a, b @ b]).double()
    return float(products[0] / (products[1] * products[2]).sqrt().clamp_min(1e-30))
