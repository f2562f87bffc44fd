"""The arithmetic of a side network, one for every kind of model.

Whatever a network predicts, its noisy latent is, up to a scale, signal and noise on a circle (Salimans & Ho 2022,
arXiv 2202.00512): z = alpha x0 + beta noise with alpha^2 + beta^2 = 1, where

    noise and velocity models   z = x / sqrt(sigma^2 + 1)               beta / alpha = sigma
    flow models                 z = x / sqrt((1 - sigma)^2 + sigma^2)   beta / alpha = sigma / (1 - sigma)

A denoised prediction D belongs to the velocity v = (alpha z - D) / beta. The side network corrects that velocity, which
is of unit scale at every noise level, by -g, and so the prediction by beta g:

    D_side = D_ref + c(sigma) g(z, D_ref, v_ref, level),   c = beta
           = sigma / sqrt(sigma^2 + 1)                     noise and velocity
           = sigma / sqrt((1 - sigma)^2 + sigma^2)         flow, the same function of beta / alpha

g knows no prompt: what of it D_ref knows goes through D_ref (our choice).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..diffusion.double_precision import in_double
from ..diffusion.parameterization import Prediction
from .network import SideNetwork

CAP = 10.0  # of signal + noise over signal in the loss weight
NOISIEST = 200.0  # squared noise over signal from which on the loss weight no longer falls; about SD's noisiest level


def signal_and_noise(sigma: Tensor, prediction: Prediction) -> tuple[Tensor, Tensor, Tensor]:
    """alpha and beta, and the scale by which a noisy latent is divided to be z; each shaped as sigma [...]."""
    # A flow model's first level may round to just above 1, where nothing of the picture is left.
    clean = (1 - sigma).clamp_min(0) if prediction == "flow" else torch.ones_like(sigma)
    scale = (clean.square() + sigma.square()).sqrt()
    return clean / scale, sigma / scale, scale


def corrected(network: SideNetwork, x: Tensor, sigma: Tensor, reference: Tensor, prediction: Prediction) -> Tensor:
    """The domain's denoised prediction [B, C, ...], from the base's.

    x: the noisy latent [B, C, H, W] or [B, C, T, H, W]; sigma: [B]; reference: the base's denoised prediction, as x.
    prediction: what the base's network puts out, which says how x was noised.
    """
    alpha, beta, scale = (
        value.to(x).view(-1, *[1] * (x.ndim - 1)) for value in signal_and_noise(in_double(sigma), prediction)
    )
    z = x / scale
    velocity = (alpha * z - reference) / beta
    level = (beta.flatten().log() - alpha.flatten().log()).to(x)
    return reference + beta * network(torch.cat([z, reference, velocity], dim=1), level)


def output_of(prediction: Tensor, x: Tensor, sigma: Tensor, kind: Prediction) -> Tensor:
    """What a network of this kind puts out for a denoised prediction: the inverse of `parameterization.denoised`."""
    s = sigma.reshape(-1, *[1] * (x.ndim - 1)).to(x)
    if kind == "v_prediction":
        return (x / (s**2 + 1) - prediction) * (s**2 + 1).sqrt() / s
    return (x - prediction) / s


def loss_weight(kind: Prediction) -> Callable[[Tensor], Tensor]:
    """The loss weight of a side network, of noise levels [B], in terms of what the base's network puts out.

    The error of the denoised prediction is weighted by min(1 + r^2, 10) / min(r^2, 200) with r = noise over signal (our
    choice): the velocity's loss, capped where there is little but noise, and there no smaller than at Stable
    Diffusion's noisiest level, since flow models go on to pure noise.
    """

    def weight(sigma: Tensor) -> Tensor:
        noise = sigma.square()
        clean = (1 - sigma).square() if kind == "flow" else torch.ones_like(sigma)
        # Of an output: its error times sigma, for velocity over sqrt(sigma^2 + 1), is that of the denoised prediction.
        factor = noise / (noise + 1) if kind == "v_prediction" else noise
        return factor * _of_denoised(clean, noise)

    return weight


def _of_denoised(clean: Tensor, noise: Tensor) -> Tensor:
    """min(1 + r^2, 10) / min(r^2, 200) with r^2 = noise / clean, and clean 0 for pure noise."""
    above = torch.minimum(clean + noise, CAP * clean)
    below = torch.minimum(noise, NOISIEST * clean)
    return torch.where(clean > 0, above / below, torch.full_like(clean, CAP / NOISIEST))
