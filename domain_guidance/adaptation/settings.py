"""How a generator is adapted."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from ..distillation import Distillation
from ..runs import BatchSettings


@dataclass(frozen=True)
class AdaptationSettings(BatchSettings):
    """How a generator is adapted, with the paper's defaults for faces (arXiv 2212.04473).

    These are 1001 iterations of Adam at a constant rate. Beyond `BatchSettings`, precision: of the generator's feature
    maps; critic and VAE compute in their own. truncation: psi of the styles trained on. average: use the moving average
    of the weights, which costs their memory once more. layers: 0 for what the pair selects, by default the paper's
    selection, else how many styles the adaptive choice takes (`layer_choice`). perceptual: the paper's lambda of LPIPS
    between source and adapted picture, for which a function must be at hand.
    """

    steps: int = 1000
    learning_rate: float = 8e-4
    weight_decay: float = 0.0
    max_gradient_norm: float = inf
    truncation: float = 1.0
    average: bool = False
    layers: int = 0
    perceptual: float = 0.0
    distillation: Distillation = Distillation()

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.truncation < inf:
            raise ValueError(
                f"truncation is {self.truncation}: give a number above 0, 1 for all of the generator's variety."
            )
        if self.weight_decay:
            raise ValueError(f"weight_decay is {self.weight_decay}, but an adaptation uses none: set it to 0.")
        if self.layers < 0:
            raise ValueError(
                f"layers is {self.layers}: give 0 for the default selection, or how many styles to choose."
            )
        if not 0 <= self.perceptual < inf:
            raise ValueError(f"perceptual is {self.perceptual}: give a weight of 0 or more.")
        if self.distillation.relative_distance and self.batch_size < 3:
            raise ValueError(
                f"relative_distance compares the pictures of a batch with one another, but batch_size is "
                f"{self.batch_size}: raise it to at least 3."
            )
