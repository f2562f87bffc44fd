"""Decoupled guidance: its algebra, as pure functions of predictions, and a denoiser that is guided by it."""

from .guided_denoiser import GuidedDenoiser
from .interval import SigmaInterval
from .projection import Projection
from .schedule import Schedule
from .terms import Reshape, Term, compose, total_weight

__all__ = ["GuidedDenoiser", "Projection", "Reshape", "Schedule", "SigmaInterval", "Term", "compose", "total_weight"]
