"""The algebra of decoupled guidance: pure functions of predictions, nothing else."""

from .interval import SigmaInterval
from .projection import Projection
from .schedule import Schedule
from .terms import Term, compose

__all__ = ["Projection", "Schedule", "SigmaInterval", "Term", "compose"]
