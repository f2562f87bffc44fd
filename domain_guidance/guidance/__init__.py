"""The algebra of decoupled guidance: pure functions of predictions, nothing else."""

from .interval import SigmaInterval
from .projection import Projection
from .schedule import Schedule
from .terms import Reshape, Term, compose, total_weight

__all__ = ["Projection", "Reshape", "Schedule", "SigmaInterval", "Term", "compose", "total_weight"]
