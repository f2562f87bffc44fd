"""Decoupled guidance of two whole models, for library use; ComfyUI's nodes compose the same terms themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from ..diffusion.denoiser import Denoiser
from .interval import SigmaInterval
from .projection import Projection
from .terms import Term, compose

C = TypeVar("C")
D = TypeVar("D")


@dataclass(frozen=True)
class GuidedDenoiser(Generic[C, D]):
    """Decoupled guidance as a denoiser (arXiv 2312.08195).

        D = D_0(empty) + cfg [D_0(c) - D_0(empty)] + weight [D_d - D_0(empty)]

    base: the frozen base. domain: the domain model; it sees `domain_conditioning`, the empty prompt it was trained
    with. empty: the base's empty prompt. weight, cfg: the paper's w_d and w_c. mask: broadcastable to the latent.

    Called as a `Denoiser`; the conditioning is the prompt c, None for unconditional sampling. A model runs only where
    its coefficient is not zero: 2 evaluations without a prompt, 3 with one, and weight 0 is plain classifier-free
    guidance.
    """

    base: Denoiser[C]
    domain: Denoiser[D]
    empty: C
    domain_conditioning: D = None  # pyright: ignore[reportAssignmentType] for a domain model that reads none
    weight: float = 1.5
    cfg: float = 3.0
    interval: SigmaInterval = SigmaInterval()
    projection: Projection | None = None
    mask: Tensor | None = None

    def __call__(self, x: Tensor, sigma: Tensor, conditioning: C | None = None) -> Tensor:
        """Return the guided prediction [B, C, H, W] of x [B, C, H, W] at noise levels sigma [B]."""
        reference = self.base(x, sigma, self.empty)
        terms = []
        if conditioning is not None and self.cfg != 0:
            terms.append(Term(self.base(x, sigma, conditioning), reference, self.cfg))
        if self.weight != 0 and float(sigma.max()) in self.interval:
            prediction = self.domain(x, sigma, self.domain_conditioning)
            terms.append(Term(prediction, reference, self.weight, self.mask, self.projection))
        return compose(reference, terms)
