"""A domain as a small correction of what the frozen base has answered: network, arithmetic, file and training."""

from .correction import corrected, loss_weight
from .guided import SideGuidedDenoiser
from .network import SideNetwork, SideShape, shape_for, shape_identity
from .side_file import LatentSpace, SideFile, is_side_file, read_side_file, write_side_file
from .trainable import BareBase, SideTrainable, make_network

__all__ = [
    "BareBase",
    "LatentSpace",
    "SideFile",
    "SideGuidedDenoiser",
    "SideNetwork",
    "SideShape",
    "SideTrainable",
    "corrected",
    "is_side_file",
    "loss_weight",
    "make_network",
    "read_side_file",
    "shape_for",
    "shape_identity",
    "write_side_file",
]
