"""One iteration of score distillation: from a generator's pictures to the gradient at them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

import torch
from torch import Tensor

from ..diffusion.parameterization import add_noise
from ..runs import Share
from .critic import Critic
from .gradients import (
    denoised_to_noise,
    directional_gradient,
    likelihood_gradient,
    noise_ratio,
    reconstruction_gradient,
    score_gradient,
    unit_rms,
    unit_score_gradient,
)
from .noise_range import NoiseRange
from .pixels import PERCENTILE, clip_to_percentile, critic_pixels
from .relative_distance import relative_distance_loss

Score = Literal["sds", "likelihood"]


@dataclass(frozen=True)
class Distillation:
    """What to distil; the defaults are the paper's for faces (arXiv 2212.04473).

    resolution: pixels of a side at which the critic looks. directional, reconstruction: weights of the regularisers, 0
    for none. unit_score, unit_directional: each of a term's two noises is scaled to unit RMS before the difference.
    scale: factor on every term before it is clamped, 0.01 in the paper's release for EG3D. relative_distance: weight of
    Ojha's term, 0 for none. percentile: share of the pixel gradient's magnitudes that is not clipped; it covers the
    score alone. antialias: our option.
    """

    resolution: int = 512
    noise: NoiseRange = NoiseRange()
    score: Score = "sds"
    unit_score: bool = False
    directional: float = 0.0
    unit_directional: bool = False
    reconstruction: float = 0.0
    relative_distance: float = 0.0
    percentile: float = PERCENTILE
    antialias: bool = False
    scale: float = 1.0

    def __post_init__(self):
        if self.score not in get_args(Score):
            raise ValueError(f"score is '{self.score}': choose one of {', '.join(get_args(Score))}.")
        if self.resolution < 1:
            raise ValueError(f"resolution is {self.resolution}: give the side of a picture in pixels.")
        if not 0 < self.percentile <= 1:
            raise ValueError(
                f"percentile is {self.percentile}: give the share that is not clipped, above 0 and up to 1."
            )
        for name in ("directional", "reconstruction", "relative_distance"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} is {getattr(self, name)}: give a weight of 0 or more.")
        if not 0 < self.scale < inf:
            raise ValueError(f"scale is {self.scale}: give a factor above 0, 1 for the terms as they are.")

    @property
    def needs_source(self) -> bool:
        return any((self.directional, self.reconstruction, self.relative_distance))


@dataclass(frozen=True)
class Distilled:
    """What one distillation found.

    pixel_gradient: at the critic's pixels, the sum over an image as in the paper. disagreement: RMS of z - D, the mean
    over the pictures, a number to watch. What the critic leaves NaN or infinite does not count; NaN where nothing is
    left.
    """

    pixel_gradient: Tensor
    disagreement: float


def distill(
    images: Tensor,
    source: Tensor | None,
    critic: Critic,
    settings: Distillation,
    generator: torch.Generator,
    share: Share = Share(),
) -> tuple[Tensor, Distilled]:
    """Return a scalar whose gradient is the distillation's, and what was found on the way.

    images: the generator's pictures [B, 3, H, W], with their graph. source: the frozen generator's of the same latents,
    needed by regularisers alone. Every picture has one timestep for all terms. share: timesteps and noise are drawn on
    the CPU for the batch of all shares, and this one's part is taken: so it does not matter how a batch is divided, but
    to the relative distance. The scalar is a mean over the batch, so that the step does not grow with it, and a sum
    over the picture. One encoding and one critic call; with a regulariser a second encoding, with a directional one
    twice the critic's batch; the critic is never differentiated.
    """
    pixels = critic_pixels(images, settings.resolution, antialias=settings.antialias)
    # Before the other's graph takes memory.
    source_latent = _source_latent(source, critic, settings)
    # A leaf, so that the encoder's graph ends here and its gradient can be clipped on the way to the generator.
    seen = pixels.detach().requires_grad_()
    latent = critic.encode(seen).float()
    gradients = _latent_gradients(latent.detach(), source_latent, critic, settings, generator, share)
    regularisers = (
        None if source_latent is None else _regularisers(latent, source_latent, gradients.regularisers, settings)
    )
    pixel_gradient = _at_pixels(latent, seen, gradients.score, regularisers, settings.percentile)
    surrogate = (pixels * pixel_gradient).sum() / len(images)
    return surrogate, Distilled(pixel_gradient, gradients.disagreement)


@dataclass(frozen=True)
class _LatentGradients:
    score: Tensor
    regularisers: Tensor
    disagreement: float


def _source_latent(source: Tensor | None, critic: Critic, settings: Distillation) -> Tensor | None:
    if not settings.needs_source:
        return None
    if source is None:
        raise ValueError("The regulariser compares with the source's pictures, but none were given: give them as well.")
    with torch.no_grad():
        return critic.encode(critic_pixels(source, settings.resolution, antialias=settings.antialias)).float()


@torch.no_grad()
def _latent_gradients(
    clean: Tensor,
    source: Tensor | None,
    critic: Critic,
    settings: Distillation,
    generator: torch.Generator,
    share: Share,
) -> _LatentGradients:
    count, prediction = share.count * len(clean), critic.prediction
    sigma = critic.schedule.sigma(share.of(settings.noise.timesteps(count, critic.schedule, generator))).to(clean)
    noise = share.of(torch.randn(count, *clean.shape[1:], generator=generator)).to(clean)
    ratio = noise_ratio(sigma, prediction)
    both = torch.cat([clean, source]) if settings.directional and source is not None else clean
    copies = len(both) // len(clean)
    denoised = critic.denoise(
        add_noise(both, noise.repeat(copies, 1, 1, 1), sigma.repeat(copies), prediction), sigma.repeat(copies)
    )
    adapted = denoised[: len(clean)]
    predicted = denoised_to_noise(adapted, clean, noise, ratio)
    regularisers = torch.zeros_like(clean)
    if settings.directional and source is not None:
        compared = predicted, denoised_to_noise(denoised[len(clean) :], source, noise, ratio)
        if settings.unit_directional:
            compared = unit_rms(compared[0]), unit_rms(compared[1])
        regularisers += directional_gradient(*compared, ratio, settings.scale * settings.directional)
    if settings.reconstruction and source is not None:
        strength = settings.scale * settings.reconstruction
        regularisers += reconstruction_gradient(predicted, adapted, source, ratio, strength)
    likelihood, scale = settings.score == "likelihood", settings.scale
    if settings.unit_score:
        score = unit_score_gradient(predicted, torch.zeros_like(noise) if likelihood else noise, ratio, scale)
    elif likelihood:
        score = likelihood_gradient(clean, adapted, noise, ratio, scale)
    else:
        score = score_gradient(clean, adapted, ratio, scale)
    return _LatentGradients(score, regularisers, _disagreement(clean - adapted))


def _disagreement(difference: Tensor) -> float:
    finite = difference.where(difference.isfinite(), torch.nan)
    return float(finite.square().flatten(1).nanmean(dim=1).sqrt().nanmean())


def _regularisers(latent: Tensor, source: Tensor, gradient: Tensor, settings: Distillation) -> Tensor:
    if settings.relative_distance:
        leaf = latent.detach().requires_grad_()
        # Itself a mean over the batch, where all else is a sum that is divided by the batch's size at the end.
        loss = settings.scale * settings.relative_distance * len(leaf) * relative_distance_loss(leaf, source)
        gradient = gradient + torch.autograd.grad(loss, leaf)[0]
    return gradient


def _at_pixels(latent: Tensor, seen: Tensor, score: Tensor, regularisers: Tensor | None, percentile: float) -> Tensor:
    """The score's part clipped, the regularisers' not (the paper's release clips the score alone)."""
    if percentile == 1 and regularisers is not None:  # nothing to clip: one pass through the encoder instead of two
        score, regularisers = score + regularisers, None
    (gradient,) = torch.autograd.grad(latent, seen, score, retain_graph=regularisers is not None)
    gradient = clip_to_percentile(gradient, percentile)
    return gradient if regularisers is None else gradient + torch.autograd.grad(latent, seen, regularisers)[0]
