"""Decoupled guidance by a side network, as a denoiser: no evaluation beyond plain classifier-free guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..diffusion.denoiser import Denoiser
from ..diffusion.parameterization import Prediction
from ..guidance import Projection, SigmaInterval, Term, compose
from .correction import corrected
from .network import SideNetwork


@dataclass(frozen=True)
class SideGuidedDenoiser:
    """D = D_0(empty) + cfg [D_0(c) - D_0(empty)] + weight [D_side - D_ref], with D_ref one of the two that are there.

    base: the frozen base. kind: what it predicts. empty: its empty prompt. weight, cfg: the paper's w_d and w_c.
    reads_prompt: the side network reads the prompt's prediction, where there is one, instead of the empty one's.

    Called as a `Denoiser`, with None for unconditional sampling: 1 evaluation unconditional and at cfg 1, else 2.
    """

    base: Denoiser
    network: SideNetwork
    kind: Prediction
    empty: Any
    weight: float = 1.5
    cfg: float = 3.0
    interval: SigmaInterval = SigmaInterval()
    projection: Projection | None = None
    mask: Tensor | None = None
    reads_prompt: bool = False

    def __call__(self, x: Tensor, sigma: Tensor, conditioning: Any = None) -> Tensor:
        prompted = None if conditioning is None or self.cfg == 0 else self.base(x, sigma, conditioning)
        terms = []
        if prompted is not None and self.cfg == 1:
            start = read = prompted
        else:
            start = empty = self.base(x, sigma, self.empty)
            read = prompted if self.reads_prompt and prompted is not None else empty
            if prompted is not None:
                terms.append(Term(prompted, empty, self.cfg))
        if self.weight != 0 and float(sigma.max()) in self.interval:
            domain = corrected(self.network, x, sigma, read, self.kind)
            terms.append(Term(domain, read, self.weight, self.mask, self.projection))
        return compose(start, terms)
