"""All measures of one set of pictures against another, from their CLIP embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize

from .kernel_distance import FEWEST_HALVES, Estimate, cmmd, kid, split_half
from .memorisation import Memorisation, memorisation
from .neighbours import Nearest, PrecisionRecall, diversity, nearest, nearest_other, precision_recall

FEWEST = 2


@dataclass(frozen=True)
class Measures:
    """Every measure of samples against a reference; one that there are too few images for is None.

    samples, references: how many. kid, halves: see `kid` and `split_half`, of embeddings scaled to length sqrt(D).
    cmmd: see `cmmd`. precision_recall: with `neighbours`. diversity: of the samples and of the reference, the mean
    distance of unit embeddings, 0 to 2. nearest: the reference image nearest to each sample. reference_nearest: each
    reference image's distance to the nearest other.
    """

    samples: int
    references: int
    kid: Estimate
    halves: float | None
    cmmd: float
    neighbours: int
    precision_recall: PrecisionRecall | None
    diversity: float
    reference_diversity: float
    nearest: Nearest
    reference_nearest: Tensor
    memorisation: Memorisation | None

    @property
    def differs(self) -> bool | None:
        """Whether the kernel distance is larger than what two halves of the reference show.

        None where there are too few images for either.
        """
        return None if self.halves is None or self.kid.low is None else self.kid.low > self.halves

    def closest(self, count: int) -> list[int]:
        """The samples nearest to a reference image, nearest first, no two near the same one."""
        chosen: dict[int, int] = {}
        for sample in self.nearest.distance.argsort(stable=True).tolist():
            chosen.setdefault(int(self.nearest.index[sample]), sample)
            if len(chosen) == count:
                break
        return list(chosen.values())


def measure(
    samples: Tensor, reference: Tensor, *, neighbours: int = 3, seed: int = 0, check: Callable[[], None] = lambda: None
) -> Measures:
    """Every measure of CLIP embeddings [N, D] against [M, D], whatever their length: they are brought to length 1.

    For the kernel distance they get length sqrt(D), so that its kernel is (cos + 1)^3 for every encoder [choice].
    check: called between the measures, and between blocks of the distances; it may raise. Raises ValueError for fewer
    than 2 images or for embeddings of two encoders.
    """
    if min(len(samples), len(reference)) < FEWEST or samples.shape[1] != reference.shape[1]:
        raise ValueError(
            f"The features are {list(samples.shape)} of the images and {list(reference.shape)} of the reference, "
            f"expected at least {FEWEST} of each and the same width: give more images."
        )
    ours, theirs = normalize(samples.double(), dim=1), normalize(reference.double(), dim=1)
    scale = sqrt(ours.shape[1])
    few = min(len(ours), len(theirs))

    def checked(value: Any) -> Any:
        check()
        return value

    near, reference_near = checked(nearest(ours, theirs)), checked(nearest_other(theirs))
    return Measures(
        samples=len(ours),
        references=len(theirs),
        kid=checked(kid(scale * ours, scale * theirs, seed=seed, check=check)),
        halves=checked(split_half(scale * theirs, seed=seed, check=check)) if len(theirs) >= FEWEST_HALVES else None,
        cmmd=checked(cmmd(ours, theirs, check=check)),
        neighbours=neighbours,
        precision_recall=checked(precision_recall(ours, theirs, neighbours)) if few > neighbours else None,
        diversity=checked(diversity(ours)),
        reference_diversity=checked(diversity(theirs)),
        nearest=near,
        reference_nearest=reference_near,
        memorisation=memorisation(near.distance, reference_near),
    )


def as_json(measures: Measures) -> dict[str, Any]:
    """The measures of the sets as JSON values, without those of single images."""
    found = measures.memorisation
    return {
        "images": measures.samples,
        "reference_images": measures.references,
        "kid": asdict(measures.kid),
        "kid_of_reference_halves": measures.halves,
        "cmmd": measures.cmmd,
        "precision": measures.precision_recall and measures.precision_recall.precision,
        "recall": measures.precision_recall and measures.precision_recall.recall,
        "neighbours": measures.neighbours,
        "diversity": measures.diversity,
        "reference_diversity": measures.reference_diversity,
        "memorisation": found and asdict(found) | {"suspected": found.is_suspected},
    }
