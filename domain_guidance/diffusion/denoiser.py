"""The one small thing a host has to offer: a function from a noisy latent to a denoised one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..guidance import Projection, SigmaInterval, Term, compose


class Denoiser(Protocol):
    """A diffusion model as its denoised prediction D(x; sigma, conditioning).

    x: [B, C, H, W], the clean latent plus noise: x0 + sigma * noise for noise and velocity models, (1 - sigma) * x0 +
    sigma * noise for flow models. sigma: [B]. conditioning: [1 or B, T, D], or None for a model that reads none.
    Returns [B, C, H, W].
    """

    def __call__(self, x: Tensor, sigma: Tensor, conditioning: Tensor | None) -> Tensor: ...


@dataclass(frozen=True)
class GuidedDenoiser:
    """Decoupled guidance as a denoiser (arXiv 2312.08195):

        D = D_0(empty) + cfg [D_0(c) - D_0(empty)] + weight [D_d - D_0(empty)]

    base: the frozen base. domain: the domain model; it sees `domain_conditioning`, the empty prompt it was trained
    with.
    empty: the base's empty prompt, [1, T, D]. weight, cfg: the paper's w_d and w_c. mask: broadcastable to the latent.

    Called as a `Denoiser`; the conditioning is the prompt c, None for unconditional sampling. Models run only where
    their
    coefficient is not zero: 2 evaluations unconditional, 3 with a prompt, and weight 0 is plain classifier-free
    guidance.
    """

    base: Denoiser
    domain: Denoiser
    empty: Tensor
    domain_conditioning: Tensor | None = None
    weight: float = 1.5
    cfg: float = 3.0
    interval: SigmaInterval = SigmaInterval()
    projection: Projection | None = None
    mask: Tensor | None = None

    def __call__(self, x: Tensor, sigma: Tensor, conditioning: Tensor | None = None) -> Tensor:
        reference = self.base(x, sigma, self.empty)
        terms = []
        if conditioning is not None and self.cfg != 0:
            terms.append(Term(self.base(x, sigma, conditioning), reference, self.cfg))
        if self.weight != 0 and float(sigma.max()) in self.interval:
            prediction = self.domain(x, sigma, self.domain_conditioning)
            terms.append(Term(prediction, reference, self.weight, self.mask, self.projection))
        return compose(reference, terms)
