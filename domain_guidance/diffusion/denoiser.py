"""The one small thing a host has to offer: a function from a noisy latent to a denoised one."""

from __future__ import annotations

from typing import Protocol, TypeVar

from torch import Tensor

C = TypeVar("C", contravariant=True)


class Denoiser(Protocol[C]):
    """A diffusion model as its denoised prediction D(x; sigma, conditioning).

    C: what the model reads as conditioning, for instance a tensor [1 or B, T, D], a prompt with its pooled vector, or
    None for a model that reads none.
    """

    def __call__(self, x: Tensor, sigma: Tensor, conditioning: C, /) -> Tensor:
        """Return the denoised prediction [B, C, H, W].

        x: [B, C, H, W], the clean latent plus noise: x0 + sigma * noise for noise and velocity models,
        (1 - sigma) * x0 + sigma * noise for flow models. sigma: [B].
        """
        ...
