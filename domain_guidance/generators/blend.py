"""Two generators in one: every block of the network is taken from one of them, or lies between them.

Blocks by resolution: "resolution dependent GAN interpolation" (arXiv 2010.05334). It draws something sensible where one
generator was trained from the other, or both from a third.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import exp, log2

import torch
from torch import Tensor

from .drawing import check_flat
from .errors import GeneratorFileError
from .generator_file import GeneratorCard, GeneratorFile
from .layout import GeneratorConfig


def block_amounts(
    config: GeneratorConfig, *, fine_from: int, coarse: float = 0.0, fine: float = 1.0, width: float = 0.0
) -> tuple[float, ...]:
    """The second generator's share in each block: `coarse` below `fine_from` pixels, `fine` from there up.

    Blocks are those of 4, 8, ... px. width: of the passage, in octaves; a logistic curve around the middle between the
    last coarse and the first fine block (our choice of its centre). 0 for a step, which every small width comes close
    to.
    """
    shares = (_passage(log2(pixels / fine_from) + 0.5, width) for pixels in config.resolutions)
    return tuple(_lerp(coarse, fine, share) for share in shares)


def blend(first: GeneratorFile, second: GeneratorFile, amounts: Sequence[float], mapping: float = 0.0) -> GeneratorFile:
    """Make a generator that lies between two.

    amounts: the second one's share, 0 to 1, in each block of `config.resolutions`; mapping: its share in the mapping. A
    share of 0 or 1 takes the tensors as they are. Noise maps, whose mean would be quieter, come from the nearer of the
    two. Raises GeneratorFileError for generators of different sizes.
    """
    config, other = check_alike(first, second)
    if len(amounts) != len(config.resolutions) or not all(0 <= amount <= 1 for amount in (*amounts, mapping)):
        raise GeneratorFileError(
            f"The amounts {', '.join(f'{amount:g}' for amount in amounts)} are given, expected "
            f"{len(config.resolutions)} numbers from 0 to 1, one for each block from 4 to {config.resolution} px."
        )
    shares = {
        **{f"synthesis.b{pixels}": amount for pixels, amount in zip(config.resolutions, amounts)},
        "mapping": mapping,
    }
    weights = {
        name: _between(name, tensor, second.weights[name], shares[_part(name)])
        for name, tensor in first.weights.items()
    }
    record = {"first": _record(first.card), "second": _record(second.card), "amounts": [*amounts], "mapping": mapping}
    origin = first.card.origin if first.card.origin == second.card.origin else None
    config = replace(config, conv_clamp=_wider(config.conv_clamp, other.conv_clamp))
    return GeneratorFile(replace(first.card, config=config, origin=origin, training={"blend": record}), weights)


def check_alike(first: GeneratorFile, second: GeneratorFile) -> tuple[GeneratorConfig, GeneratorConfig]:
    """Return the configs of two StyleGAN2 generators of the same sizes. Raises GeneratorFileError for any others."""
    configs = check_flat(first), check_flat(second)
    one, other = map(_sizes, configs)
    if one != other:
        name = next(name for name in one if one[name] != other[name])
        raise GeneratorFileError(
            f"The generators have the {name.replace('_', ' ')} {_shown(one[name])} and {_shown(other[name])}, and only "
            "equal networks can be blended: give two that were trained from the same one."
        )
    return configs


def _passage(octaves: float, width: float) -> float:
    if width <= 0 or abs(octaves) > 100 * width:
        return float(octaves > 0)
    return 1 / (1 + exp(-octaves / width))


def _lerp(coarse: float, fine: float, share: float) -> float:
    """Exactly an end at shares of 0 and 1, and for equal ends."""
    return coarse + (fine - coarse) * share if share < 0.5 else fine - (fine - coarse) * (1 - share)


def _between(name: str, first: Tensor, second: Tensor, amount: float) -> Tensor:
    if amount in (0, 1) or name.endswith("noise_const"):
        return second if amount >= 0.5 else first
    return torch.lerp(first.float(), second.float(), amount).to(torch.promote_types(first.dtype, second.dtype))


def _part(name: str) -> str:
    return ".".join(name.split(".")[:2]) if name.startswith("synthesis.") else "mapping"


def _sizes(config: GeneratorConfig) -> Mapping[str, object]:
    return asdict(replace(config, conv_clamp=None))


def _shown(size: object) -> str:
    return " ".join(map(str, size)) if isinstance(size, (tuple, list)) else str(size)


def _wider(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def _record(card: GeneratorCard) -> dict:
    return {"origin": None if card.origin is None else asdict(card.origin), "training": card.training}
