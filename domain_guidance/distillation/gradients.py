"""The distillation gradients of StyleGAN-Fusion (arXiv 2212.04473) in denoised space, one formula for every model kind.

A noisy latent is x = alpha z + sigma n. What decides is the ratio s = sigma / alpha alone: with D the critic's (guided)
denoised prediction at x, its noise is n^ = n + (z - D) / s, and the paper's weight 1 - a, a the cumulative alpha, is s²
/ (1 + s²). So

    (1 - a) (n^ - n) = s / (1 + s²) (z - D),

which is defined for flow models, too. All latents and predictions are [B, C, h, w], all ratios [B]; nothing here is
differentiated.
"""

from __future__ import annotations

from torch import Tensor

from ..diffusion.dimensions import append_dims
from ..diffusion.parameterization import Prediction


def noise_ratio(sigma: Tensor, prediction: Prediction) -> Tensor:
    """The ratio s = sigma / alpha [B] of noise to picture at noise levels [B].

    Flow models mix 1 - sigma of the picture with sigma of noise; the others add the noise.
    """
    return sigma / (1 - sigma).clamp_min(0) if prediction == "flow" else sigma  # a first level may round to above 1


def denoised_to_noise(denoised: Tensor, clean: Tensor, noise: Tensor, ratio: Tensor) -> Tensor:
    """The noise that a critic sees in `clean` with `noise`, from its denoised prediction."""
    return noise + (clean - denoised) / append_dims(ratio, clean).to(clean)


def score_gradient(clean: Tensor, denoised: Tensor, ratio: Tensor, scale: float = 1.0) -> Tensor:
    """The gradient of SDS, clamp(scale (1 - a)(n^ - n), ±1): where the critic would not have the latent as it is."""
    s = append_dims(ratio, clean).to(clean)
    return _clamped(scale * s / (1 + s**2) * (clean - denoised))


def unit_score_gradient(predicted: Tensor, noise: Tensor, ratio: Tensor, scale: float = 1.0) -> Tensor:
    """The gradient by which the release adapts an EG3D, clamp(scale (1 - a)[U(n^) - U(n)], ±1).

    U is the scaling to unit RMS. predicted, noise: the critic's noise n^ and the one that was added; without the
    latter, zeros, it is the likelihood.
    """
    return _clamped(scale * _weight(ratio, noise) * (unit_rms(predicted) - unit_rms(noise)))


def likelihood_gradient(clean: Tensor, denoised: Tensor, noise: Tensor, ratio: Tensor, scale: float = 1.0) -> Tensor:
    """The likelihood gradient, clamp(scale (1 - a) n^, ±1).

    The noise that was added is not subtracted, as in later work with a small guidance scale.
    """
    return _clamped(scale * _weight(ratio, clean) * denoised_to_noise(denoised, clean, noise, ratio))


def directional_gradient(adapted: Tensor, source: Tensor, ratio: Tensor, strength: float) -> Tensor:
    """The directional regulariser, clamp(lambda (1 - a)[n^(adapted) - n^(source)], ±1).

    adapted, source: the critic's noise for the adapted and the source picture, under the same noise and prompt.
    """
    return _clamped(strength * _weight(ratio, adapted) * (adapted - source))


def reconstruction_gradient(
    predicted_noise: Tensor, denoised: Tensor, source: Tensor, ratio: Tensor, strength: float
) -> Tensor:
    """The reconstruction regulariser, clamp(lambda (1 - a)[U(n^) + U(D - z_source)], ±1), U the scaling to unit RMS.

    denoised: the critic's prediction for the adapted picture; source: the source picture's clean latent.
    """
    return _clamped(strength * _weight(ratio, denoised) * (unit_rms(predicted_noise) + unit_rms(denoised - source)))


def unit_rms(values: Tensor) -> Tensor:
    """Each image of [B, ...] scaled to a root mean square of 1; zeros stay zeros."""
    rms = values.square().flatten(1).mean(dim=1).sqrt()
    return values / append_dims(rms.masked_fill(rms == 0, 1.0), values).to(values)


def _weight(ratio: Tensor, like: Tensor) -> Tensor:
    s = append_dims(ratio, like).to(like)
    return (s**2 / (1 + s**2)).nan_to_num(nan=1.0)  # at a flow model's full noise


def _clamped(gradient: Tensor) -> Tensor:
    return gradient.nan_to_num(nan=0.0).clamp(-1.0, 1.0)
