"""The algebra of decoupled guidance: pure functions of predictions, nothing else."""

from .interval import SigmaInterval
from .projection import Projection
from .terms import Term, compose

__all__ = ["Projection", "SigmaInterval", "Term", "compose"]
