"""The measures in plain words, each with the number of images it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from .kernel_distance import FEWEST_HALVES, Estimate
from .measures import Measures
from .memorisation import describe as describe_memorisation

FEW = 50  # images; below, the kernel distance is hardly more than noise [choice]


def describe(measures: Measures, encoder: str) -> str:
    """One statement a line, the numbers of images first."""
    counts = f"{measures.samples} images compared with {measures.references} reference images, as seen by {encoder}."
    return "\n".join([counts, *statements(measures), *warnings(measures)])


def statements(measures: Measures) -> Iterator[str]:
    """Distance, precision and recall, diversity, memorisation."""
    kid = measures.kid
    yield f"Distance (KID) {_read(kid.value)}, {_interval(kid)}; 0 means no difference.{_halves(measures)}"
    yield f"CMMD {_read(measures.cmmd)}; 0 means no difference. It has no interval."
    if measures.precision_recall is not None:
        found = measures.precision_recall
        yield (
            f"Precision {found.precision:.0%}: the share of images that look like the reference. Recall "
            f"{found.recall:.0%}: the share of the reference that the images cover."
        )
    share = f" ({measures.diversity / measures.reference_diversity:.0%} of it)" if measures.reference_diversity else ""
    yield f"Diversity {measures.diversity:.3g}; that of the reference is {measures.reference_diversity:.3g}{share}."
    yield describe_memorisation(measures.memorisation)


def warnings(measures: Measures) -> Iterator[str]:
    """What the numbers of images do not allow to say."""
    few = min(measures.samples, measures.references)
    if few < FEW:
        yield f"Caution: with {few} images the distance is only a rough estimate; use at least {FEW} of each."
    if measures.precision_recall is None:
        yield f"Precision and recall need more than {measures.neighbours} images of each."
    elif measures.samples != measures.references:
        yield "Precision and recall depend on both numbers of images: only compare runs with the same numbers."


def _read(distance: float) -> str:
    """For a reader: an unbiased estimate may fall below 0 by chance, which says no more than 0."""
    return f"{max(distance, 0.0):.3g}"


def _interval(kid: Estimate) -> str:
    return (
        f"no interval with fewer than {FEWEST_HALVES} images"
        if kid.low is None or kid.high is None
        else f"95% interval {_read(kid.low)} to {_read(kid.high)}"
    )


def _halves(measures: Measures) -> str:
    if measures.halves is None:
        return ""
    verdicts = {
        None: "",
        True: " The images differ from the reference.",
        False: " No difference from the reference can be detected.",
    }
    return f" Two halves of the reference are up to {measures.halves:.2g} apart.{verdicts[measures.differs]}"
