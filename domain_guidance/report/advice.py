"""From measures to settings: which weight, cfg or range to try, and why.

The numbers to aim at are our choice. The ratio lies between the toy world's at its two best settings, where the domain
term is 1.2 (weight 1.5, cfg 4) and 1.7 times (weight 2, cfg 3) as long as the text term; the coefficient is that of
arXiv 2312.08195's own setting, weight and cfg 2.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .term_measures import Step

TARGET = 1.5  # domain term over text term, summed over the sampling
BAND = (TARGET / 2, TARGET * 2)
PULL = 5.0  # cfg plus weights: a coefficient of -4
BURN_PULL, BURN_CONTRAST = 8.0, 4.0
UNTRAINED = 1e-3  # of the prediction
AGAINST, TWICE = -0.3, 0.5  # cosines


@dataclass(frozen=True)
class Advice:
    """One thing to change. kind: unguided, untrained, idle, burn, strong, weak, against, twice, unprompted or fine.

    weights: new weights of the terms, all of them in their order, or empty. cfg: a new one, or None. start_percent,
    end_percent: a range that does the same at the old weights, or None. text: the same in words.
    """

    kind: str
    text: str
    weights: tuple[float, ...] = ()
    cfg: float | None = None
    start_percent: float | None = None
    end_percent: float | None = None


@dataclass(frozen=True)
class Overall:
    """Sums over one sampling.

    text, domain: of the norms, domain over all terms. pull: the highest cfg + weights of a step that counts. contrast:
    the highest.
    """

    text: float
    domain: float
    pull: float
    contrast: float
    steps: Sequence[Step] = field(repr=False)

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Overall:
        acting = [step for step in steps if domain_norm(step) > 0]
        return cls(
            text=sum(step.measured.text for step in acting),
            domain=sum(map(domain_norm, acting)),
            pull=max((1.0 - step.measured.coefficient for step in steps), default=0.0),
            contrast=max((step.measured.contrast for step in steps), default=0.0),
            steps=steps,
        )

    @property
    def is_prompted(self) -> bool:
        return self.text > UNTRAINED * self.domain

    @property
    def ratio(self) -> float:
        """How many times the text term's length the terms have, over the steps in which they act."""
        return self.domain / self.text if self.is_prompted else float("inf")


def domain_norm(step: Step) -> float:
    return sum(term.norm for term in step.measured.terms)


def advise(steps: Sequence[Step], weights: Sequence[float], cfg: float) -> list[Advice]:
    """Say what to change, the most important first.

    weights: the terms' own, as set at their nodes, before any schedule.
    """
    if not weights:
        return [_unguided()]
    silent = [advice for number in range(len(weights)) for advice in _silent(steps, number, len(weights))]
    if len(silent) == len(weights):
        return silent
    overall = Overall.of(steps)
    found = [*silent, _balance(overall, weights, cfg), _direction(overall)]
    if not overall.is_prompted:
        found.append(
            Advice(
                "unprompted",
                "There is no text term to compare with: the prompt is empty, or what is subtracted from the domain "
                "reads it, too.",
            )
        )
    return [advice for advice in found if advice is not None] or [_fine(overall)]


def _unguided() -> Advice:
    return Advice(
        "unguided",
        "The model has no domain guidance: connect Apply Domain Guidance, with a weight other than 0, between the "
        "checkpoint and this node.",
    )


def _silent(steps: Sequence[Step], number: int, count: int) -> list[Advice]:
    """Why one of `count` terms has no effect, if it has none."""
    name = "The domain" if count == 1 else f"Term {number + 1}"
    measures = [step.measured.terms[number] for step in steps]
    if all(measure.weight == 0 for measure in measures):
        return [
            Advice(
                "idle",
                f"{name} is not active in any of the sampled steps: widen the range from start_percent to "
                "end_percent, or raise denoise.",
            )
        ]
    if max(measure.share for measure in measures) < UNTRAINED:
        return [
            Advice(
                "untrained",
                f"{name} predicts the same as the base, because it is untrained or the same model: connect another "
                "one.",
            )
        ]
    return []


def _balance(overall: Overall, weights: Sequence[float], cfg: float) -> Advice | None:
    if overall.pull > BURN_PULL and overall.contrast > BURN_CONTRAST:
        return _burn(overall, weights, cfg)
    if not overall.is_prompted or BAND[0] <= overall.ratio <= BAND[1]:
        return None
    return _weak(overall, weights, cfg) if overall.ratio < BAND[0] else _strong(overall, weights, cfg)


def _burn(overall: Overall, weights: Sequence[float], cfg: float) -> Advice:
    factor, new_cfg = _within(overall, weights, cfg, PULL)
    new = _scaled(weights, factor)
    return Advice(
        "burn",
        f"The image burns: the coefficient of the unconditional prediction is {1 - overall.pull:.1f}, and "
        f"predictions have up to {overall.contrast:.1f} times the contrast of what they are made of. Try "
        f"{_said(new)}{_said_cfg(cfg, new_cfg)}.",
        new,
        new_cfg if new_cfg != cfg else None,
    )


def _weak(overall: Overall, weights: Sequence[float], cfg: float) -> Advice:
    factor, new_cfg = TARGET / overall.ratio, cfg
    if _pull(weights, cfg, factor) > BURN_PULL:
        factor, new_cfg = _within(overall, weights, cfg, PULL)
    new = _scaled(weights, factor)
    return Advice(
        "weak",
        f"The domain is barely visible: its term is {overall.ratio:.2g} times as long as the text term. Try "
        f"{_said(new)}{_said_cfg(cfg, new_cfg)}.",
        new,
        new_cfg if new_cfg != cfg else None,
    )


def _strong(overall: Overall, weights: Sequence[float], cfg: float) -> Advice:
    """Another share of the same pull, where cfg can give way; and a range that does without a change of weights."""
    factor, new_cfg = TARGET / overall.ratio, cfg
    if cfg > 1 and sum(weights) > 0:
        factor, new_cfg = _within(overall, weights, cfg, min(_pull(weights, cfg, 1.0), PULL))
    new, (start, end) = _scaled(weights, factor), _shorter(overall.steps)
    way_out = (
        ""
        if start is end is None
        else f", or end_percent {end:g}"
        if start is None
        else f", or start_percent {start:g}"
    )
    return Advice(
        "strong",
        f"The domain drowns out the prompt: its term is {overall.ratio:.1f} times as long as the text "
        f"term{_where(overall.steps)}. Try {_said(new)}{_said_cfg(cfg, new_cfg)}{way_out}.",
        new,
        new_cfg if new_cfg != cfg else None,
        start,
        end,
    )


def _direction(overall: Overall) -> Advice | None:
    cosine = mean_cosine(overall.steps)
    if cosine < AGAINST:
        way_out = "ask for things that the domain contains, or lower the weight"
        return Advice("against", f"Domain and prompt pull against each other (cosine {cosine:.2f}): {way_out}.")
    if cosine > TWICE:
        way_out = "remove the words that describe the domain from the prompt, or lower the weight"
        return Advice("twice", f"Domain and prompt pull in the same direction (cosine {cosine:.2f}): {way_out}.")
    return None


def mean_cosine(steps: Sequence[Step]) -> float:
    """The cosine of terms and text over a sampling; long terms count more."""
    pairs = [(term.cosine, term.norm * step.measured.text) for step in steps for term in step.measured.terms]
    total = sum(length for _, length in pairs)
    return sum(cosine * length for cosine, length in pairs) / total if total else 0.0


def _fine(overall: Overall) -> Advice:
    return Advice("fine", f"Nothing to change: the domain term is {overall.ratio:.1f} times as long as the text term.")


def _pull(weights: Sequence[float], cfg: float, factor: float) -> float:
    return cfg + factor * sum(weights)


def _within(overall: Overall, weights: Sequence[float], cfg: float, pull: float) -> tuple[float, float]:
    """(factor on the weights, cfg) with cfg + weights = pull and, where there is a prompt, a ratio of TARGET.

    The ratio changes as factor * cfg / new cfg; at cfg 1 there is no scale to lower, and weights alone give way.
    """
    total = sum(weights)
    if total <= 0:
        return 1.0, _rounded(pull - total)
    if cfg <= 1 or not overall.is_prompted:
        return (pull - cfg if overall.is_prompted else pull) / total, cfg
    wanted = TARGET / overall.ratio  # factor over cfg's own
    new_cfg = pull / (1.0 + total * wanted / cfg)
    return wanted * new_cfg / cfg, _rounded(max(new_cfg, 1.0))


def _shorter(steps: Sequence[Step]) -> tuple[float | None, float | None]:
    """(start, end) percent, one of them None, that leaves out fewest of the acting steps to bring the ratio into the
    band; at most half.
    """
    acting = [step for step in steps if domain_norm(step) > 0]
    for cut in range(1, len(acting) // 2 + 1):
        if Overall.of(acting[:-cut]).ratio <= BAND[1]:
            return None, _between(acting[-cut - 1].percent, acting[-cut].percent)
        if Overall.of(acting[cut:]).ratio <= BAND[1]:
            return _between(acting[cut - 1].percent, acting[cut].percent), None
    return None, None


def _between(low: float, high: float) -> float:
    """The shortest decimal strictly between two percents, of three places at most."""
    middle = (low + high) / 2
    return next((value for places in (1, 2, 3) if low < (value := round(middle, places)) < high), middle)


def _where(steps: Sequence[Step]) -> str:
    """The run of steps around the worst one in which the ratio is above the band; nothing if that is all of them."""
    above = [step.number for step in steps if domain_norm(step) > BAND[1] * step.measured.text]
    run = max(_runs(above), key=len, default=[])
    if not run or len(run) >= len(steps) - 1:
        return ""
    return f", especially in steps {run[0]}–{run[-1]}" if len(run) > 1 else f", especially in step {run[0]}"


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _scaled(weights: Sequence[float], factor: float) -> tuple[float, ...]:
    return tuple(_rounded(weight * factor) for weight in weights)


def _rounded(value: float) -> float:
    """Two significant digits: a setting to try, not a measurement."""
    return float(f"{value:.2g}")


def _said(weights: Sequence[float]) -> str:
    return f"weight{'s' if len(weights) > 1 else ''} " + ", ".join(f"{weight:g}" for weight in weights)


def _said_cfg(old: float, new: float) -> str:
    return "" if old == new else f" with cfg {new:g}"
