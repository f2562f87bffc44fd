"""Measures of generated pictures against real ones, as pure functions on features, with their report and picture."""

from .clip_score import clip_score
from .comparison import Comparison, compare, write_json
from .embedding import Embedded, Encoder, centre_square, embed
from .fidelity import frechet_distance, inception_features, load_inception
from .kernel_distance import Estimate, cmmd, gaussian, kid, polynomial, split_half, squared_mmd
from .measures import Measures, as_json, measure
from .measures_picture import Pair, draw_measures
from .memorisation import Memorisation, memorisation
from .neighbours import (
    Nearest,
    PrecisionRecall,
    diversity,
    grouped_diversity,
    nearest,
    nearest_other,
    precision_recall,
    radii,
)
from .words import describe

__all__ = [
    "Comparison",
    "Embedded",
    "Encoder",
    "Estimate",
    "Measures",
    "Memorisation",
    "Nearest",
    "Pair",
    "PrecisionRecall",
    "as_json",
    "centre_square",
    "clip_score",
    "cmmd",
    "compare",
    "describe",
    "diversity",
    "draw_measures",
    "embed",
    "frechet_distance",
    "gaussian",
    "grouped_diversity",
    "inception_features",
    "kid",
    "load_inception",
    "measure",
    "memorisation",
    "nearest",
    "nearest_other",
    "polynomial",
    "precision_recall",
    "radii",
    "split_half",
    "squared_mmd",
    "write_json",
]
