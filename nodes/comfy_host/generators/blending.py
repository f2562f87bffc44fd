"""Two generators of a graph in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

from ....domain_guidance.generators import GeneratorConfig, GeneratorFile
from ....domain_guidance.generators.blend import blend, block_amounts, check_alike
from ....domain_guidance.generators.relatedness import RELATED, relatedness
from ...number_lists import parse_numbers
from ..node_text import tell_here


def blend_generators(
    first: GeneratorFile, second: GeneratorFile, passage: Mapping[str, Any], mapping: float, amounts: str
) -> GeneratorFile:
    """The blend of two generators, with amounts from a list or from a passage between coarse and fine.

    passage: the arguments of `block_amounts`. amounts: a list as people write it, which takes the place of passage
    unless it is empty. Raises ValueError, one sentence.
    """
    check_alike(first, second)
    if relatedness(first, second) < RELATED:
        tell_here(
            "The weights of the two generators have nothing in common, so their blend will draw "
            "noise: connect two generators of which one was trained from the other, or both from a third."
        )
    if not amounts.strip():
        _check_passage(first.card.config.resolution, **passage)
    config = cast(GeneratorConfig, first.card.config)  # `check_alike` has refused volumes
    chosen = parse_numbers(amounts, "amounts", 0, 1) if amounts.strip() else block_amounts(config, **passage)
    with torch.inference_mode(False):
        return blend(first, second, chosen, mapping)


def _check_passage(resolution: int, fine_from: int, coarse: float, fine: float, width: float) -> None:
    if fine_from > resolution and coarse != fine and not width:
        raise ValueError(
            f"fine_from is {fine_from}, but the generators draw {resolution} px, so no block would count as fine: "
            f"set fine_from to {resolution} or less."
        )
