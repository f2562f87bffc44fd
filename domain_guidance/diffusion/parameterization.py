"""What a network's output means: noise, velocity or flow, and the way from each to the denoised prediction.

Noise and velocity models see x = x0 + sigma * noise, scaled to unit variance; flow models see
x = (1 - sigma) * x0 + sigma * noise as it is. One equation per kind; everything else in the library is denoised space.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from .dimensions import append_dims

Prediction = Literal["epsilon", "v_prediction", "flow"]
PREDICTIONS: tuple[str, ...] = get_args(Prediction)


def network_input(x: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """x [B, ...] at noise level sigma [B], scaled as the network expects it."""
    return x if prediction == "flow" else x / (append_dims(sigma, x).to(x.dtype) ** 2 + 1) ** 0.5


def denoised(output: Tensor, x: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """The denoised prediction [B, ...] that a network output [B, ...] at (x, sigma) stands for."""
    s = append_dims(sigma, x).to(x.dtype)
    if prediction == "v_prediction":
        return x / (s**2 + 1) - output * s / (s**2 + 1) ** 0.5
    return x - s * output


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """The noisy latent x [B, ...] at noise level sigma [B]."""
    s = append_dims(sigma, x0).to(x0.dtype)
    return (1 - s) * x0 + s * noise if prediction == "flow" else x0 + s * noise


def training_target(x0: Tensor, noise: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """What the network should put out for (x0, noise) at sigma, [B, ...]: noise, velocity, or flow direction.

    Velocity is Salimans & Ho 2022 (arXiv 2202.00512), alpha * noise - sigma_vp * x0 with alpha = 1 / sqrt(sigma² + 1).
    """
    s = append_dims(sigma, x0).to(x0.dtype)
    if prediction == "flow":
        return noise - x0
    return noise if prediction == "epsilon" else (noise - s * x0) / (s**2 + 1) ** 0.5
