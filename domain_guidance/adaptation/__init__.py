"""Adapting a generator, with a frozen diffusion model as its critic (arXiv 2212.04473)."""

from .adapt import adapt_generator
from .comparison import comparison_picture
from .critic_model import CriticModel
from .layer_choice import choose_styles, style_movement, trainable_styles
from .pair import AdaptedPair
from .perceptual import Perceptual, find_perceptual
from .settings import AdaptationSettings

__all__ = [
    "AdaptationSettings",
    "AdaptedPair",
    "CriticModel",
    "Perceptual",
    "adapt_generator",
    "choose_styles",
    "comparison_picture",
    "find_perceptual",
    "style_movement",
    "trainable_styles",
]
