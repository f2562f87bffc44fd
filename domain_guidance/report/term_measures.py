"""What can be read off one guided evaluation: how long every term is, and where it points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, linalg, stack

from ..diffusion.double_precision import in_double
from ..guidance import Term, compose, total_weight

# A text term shorter than this share of the prediction is the rounding of one prompt evaluated twice (our choice).
NO_TEXT = 1e-4


@dataclass(frozen=True)
class TermMeasure:
    """One term in one step; means over the batch.

    weight: as it acted, its schedule included. unit: L2 norm at weight 1, in latent units. cosine: with the text term,
    -1 to 1, turned by a negative weight. share: unit over the norm of the prediction that is subtracted.
    """

    weight: float
    unit: float
    cosine: float
    share: float

    @property
    def norm(self) -> float:
        return abs(self.weight) * self.unit


@dataclass(frozen=True)
class Measured:
    """One guided evaluation; means over the batch.

    text: L2 norm of what the sampler's prompt adds, in latent units. coefficient: of the unconditional prediction,
    1 - cfg - sum of the weights (arXiv 2312.08195, general form), the lowest in any one place where terms have masks.
    contrast: see `measure`.
    """

    text: float
    coefficient: float
    contrast: float
    terms: tuple[TermMeasure, ...]


@dataclass(frozen=True)
class Step:
    """A sampler's step: number from 1, share of the sampling done when it begins (0 to 1), and its first evaluation."""

    number: int
    percent: float
    measured: Measured


def measure(sampler: Tensor, terms: Sequence[Term], cfg: float, unconditional: Sequence[bool] = ()) -> Measured:
    """Measures one evaluation. sampler: [B, C, ...], what the guider made before any term; terms: at least one.

    unconditional: of each term whether it subtracts an unconditional prediction, as a domain does, and not a prompt of
    the user's, as a contrast of two does; left out, all do. The text term is `sampler` minus that prediction, so it is
    defined without the sampler's own, too (cfg 1); where terms subtract different ones, the one that most of them share
    counts, and the coefficient counts the terms that subtract one. A prompt that adds nothing counts no cfg.

    contrast: the standard deviation of the guided prediction over the largest one of the predictions it is made of, per
    picture. Guidance that overexposes raises it (Lin et al. 2024, arXiv 2305.08891, section 3.4, who compare with the
    prompted prediction alone; taking the largest is our choice, because a domain may be more contrasted than the base).
    """
    plain = [term for term, one in zip(terms, unconditional or [True] * len(terms), strict=True) if one]
    reference = _shared_reference(plain or terms)
    text = sampler - reference
    spoken = (_norm(text) > NO_TEXT * _norm(reference)).any().item()
    sources = [_deviation(prediction) for term in terms for prediction in (term.prediction, term.reference)]
    contrast = _deviation(compose(sampler, terms)) / stack(sources).amax(0)
    return Measured(
        text=_norm(text).mean().item(),
        coefficient=1.0 - (cfg if spoken else 0.0) - total_weight((term.weight, term.mask) for term in plain),
        contrast=contrast.mean().item(),
        terms=tuple(_measured_term(term, text) for term in terms),
    )


def spread(result: Tensor) -> float:
    """Standard deviation of latents [B, C, ...] in the model's own scale, per picture, mean over the batch.

    Latents are scaled so that pictures have about 1 (Rombach et al. 2022, appendix G); burnt ones have more.
    """
    return _deviation(result).mean().item()


def _measured_term(term: Term, text: Tensor) -> TermMeasure:
    unit = replace(term, weight=1.0).contribution()
    sign = -1.0 if term.weight < 0 else 1.0
    share = _norm(unit) / _norm(term.reference)
    return TermMeasure(
        float(term.weight), _norm(unit).mean().item(), sign * _cosine(unit, text).mean().item(), share.mean().item()
    )


def _shared_reference(terms: Sequence[Term]) -> Tensor:
    return max(
        (term.reference for term in terms), key=lambda reference: sum(other.reference is reference for other in terms)
    )


def _norm(values: Tensor) -> Tensor:
    """[B]"""
    return linalg.vector_norm(in_double(values.flatten(1)), dim=1)


def _deviation(values: Tensor) -> Tensor:
    """[B]"""
    return in_double(values.flatten(1)).std(dim=1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """[B]; 0 where either is zero."""
    lengths = _norm(a) * _norm(b)
    return (in_double(a.flatten(1)) * in_double(b.flatten(1))).sum(1) / lengths.clamp_min(1e-30)
