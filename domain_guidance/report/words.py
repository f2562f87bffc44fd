"""A report in words: the advice, then the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from .advice import Advice, Overall, mean_cosine
from .term_measures import Step

HEADINGS = ("step", "done", "text", "domain", "ratio", "cosine", "coefficient", "contrast")


def describe(steps: Sequence[Step], advice: Sequence[Advice], result: str) -> str:
    """Write the report as plain text.

    It says what to try, sums over the sampling, `result` (one line about the finished picture), and one line per step
    and term.
    """
    overall = Overall.of(steps)
    lines = [f"{number}. {one.text}" for number, one in enumerate(advice, 1)]
    if steps:
        lines += [
            "",
            f"Over all steps: the domain term is {_ratio(overall.ratio)} times as long as the text term, the cosine "
            f"is {mean_cosine(steps):.2f}, the coefficient of the unconditional prediction falls to "
            f"{1 - overall.pull:.1f}, and the contrast rises to {overall.contrast:.1f}.",
        ]
    return "\n".join([*lines, result, *(["", _table(steps)] if steps else [])])


def _table(steps: Sequence[Step]) -> str:
    rows = [_row(step, number) for step in steps for number in range(len(step.measured.terms))]
    return "\n".join("".join(f"{cell:>12}" for cell in row) for row in [HEADINGS, *rows])


def _row(step: Step, number: int) -> tuple[str, ...]:
    """Terms after the first stand below it, without repeating what they share."""
    measured = step.measured
    term = measured.terms[number]
    ratio = term.norm / measured.text if measured.text else float("inf")
    shared = (str(step.number), f"{step.percent:.0%}", f"{measured.text:.2f}") if number == 0 else ("", "", "")
    ends = (f"{measured.coefficient:.2f}", f"{measured.contrast:.2f}") if number == 0 else ("", "")
    return (*shared, f"{term.norm:.2f}", _ratio(ratio), f"{term.cosine:.2f}", *ends)


def _ratio(value: float) -> str:
    return "many" if value > 1000 else f"{value:.2g}" if value < 1 else f"{value:.1f}"
