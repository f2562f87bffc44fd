"""Triangle meshes seen by cameras: views of a surface, what they have in common, and a texture painted from them."""

from .correspondence import Correspondence, correspond
from .pictures import depth_pictures, normal_pictures
from .raster import Fragments, rasterise
from .surface import MeshError, Surface
from .texture import Painted, paint
from .views import ARRANGEMENTS, Views, arrange
from .visibility import draw_views

__all__ = [
    "ARRANGEMENTS",
    "Correspondence",
    "Fragments",
    "MeshError",
    "Painted",
    "Surface",
    "Views",
    "arrange",
    "correspond",
    "depth_pictures",
    "draw_views",
    "normal_pictures",
    "paint",
    "rasterise",
]
