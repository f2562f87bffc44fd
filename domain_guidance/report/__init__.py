"""Seeing which weights to use: what each term did in a sampling, what follows for the settings, and pictures of both."""

from .advice import Advice, advise
from .grid import axes_grid, mosaic
from .measures import Measured, Step, TermMeasure, measure, spread
from .picture import draw_report
from .words import describe

__all__ = ["Advice", "Measured", "Step", "TermMeasure", "advise", "axes_grid", "describe", "draw_report", "measure", "mosaic", "spread"]
