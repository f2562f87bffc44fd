"""Which weights to use: what each term did while sampling, what to change, and pictures of both."""

from .advice import Advice, advise
from .report_picture import draw_report
from .term_measures import Measured, Step, TermMeasure, measure, spread
from .words import describe

__all__ = ["Advice", "Measured", "Step", "TermMeasure", "advise", "describe", "draw_report", "measure", "spread"]
