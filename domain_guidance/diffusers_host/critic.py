"""diffusers as a critic: a UNet with text, domain guidance or both, and the VAE's encoder before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction
from ..domains.prompt import Prompt
from ..guidance import Term, compose
from .denoiser import PromptedUNet

if TYPE_CHECKING:
    from .folder import Autoencoder


@dataclass(frozen=True)
class DomainTerm:
    """A term of the critic, weight (D_domain - D_base(empty)).

    prompt: the empty prompt that the domain was trained with.
    """

    unet: PromptedUNet
    prompt: Prompt
    weight: float


@dataclass(frozen=True)
class DiffusersCritic:
    """A diffusers UNet and VAE as an `adaptation.CriticModel`, with decoupled guidance (arXiv 2312.08195):

        D = D(negative) + cfg [D(prompt) - D(negative)] + weight [D_domain - D(empty)]

    prompt: None for a critic without text, D = D(empty) + weight [D_domain - D(empty)]. What the base is asked at one
    noise level is one call of it: two predictions with a prompt, a third where a domain term meets a negative prompt
    with words in it.
    encoder: pixels [B, 3, R, R] -> the mode of the VAE's posterior, in the VAE's own scale. scaling, shift: of model
    latent = (latent - shift) scaling.
    """

    unet: PromptedUNet
    encoder: nn.Module
    empty: Prompt
    prompt: Prompt | None = None
    negative: Prompt | None = None
    cfg: float = 100.0
    domain: DomainTerm | None = None
    scaling: float = 0.18215
    shift: float = 0.0
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prediction(self) -> Prediction:
        return self.unet.prediction

    @property
    def schedule(self) -> NoiseSchedule:
        return self.unet.schedule

    @property
    def device(self) -> torch.device:
        return self.unet.unet.device

    def denoise(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        negative = self.negative if self.prompt and self.negative else self.empty
        asked = [negative]
        if self.prompt:
            asked.append(self.prompt)
        if self.domain and negative is not self.empty:
            asked.append(self.empty)
        start, *others = self.unet.several(noisy, sigma, asked)
        terms = [Term(others[0], start, self.cfg)] if self.prompt else []
        if self.domain:
            reference = start if negative is self.empty else others[-1]
            terms.append(Term(self.domain.unet(noisy, sigma, self.domain.prompt), reference, self.domain.weight))
        return compose(start, terms)

    def encode(self, pixels: Tensor) -> Tensor:
        return (self.encoder(pixels).float() - self.shift) * self.scaling


class PosteriorMode(nn.Module):
    """The encoding half of a frozen autoencoder; the decoder is not kept. dtype: of its arithmetic.

    An AutoencoderKL's encoder ends with mean and log-variance, an AutoencoderTiny's with the latent itself.
    """

    def __init__(self, vae: Autoencoder, dtype: torch.dtype):
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, getattr(vae, "quant_conv", None)
        self.certain = not hasattr(vae, "quant_conv")
        self.to(dtype).eval().requires_grad_(False)
        self.dtype = dtype

    def forward(self, pixels: Tensor) -> Tensor:
        moments = self.encoder(pixels.to(self.dtype))
        if self.certain:
            return moments
        return (moments if self.quant_conv is None else self.quant_conv(moments)).chunk(2, dim=1)[0]
