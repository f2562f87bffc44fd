"""EG3D generators (arXiv 2112.07945): a head or a cat as a volume, seen by any camera."""

from .camera import camera_parameters, cameras, ellipse, grid, look_at, orbit, random_poses
from .generator import Eg3dGenerator, View
from .layout import Eg3dConfig, Rendering, eg3d_shapes, infer_eg3d, standard_eg3d
from .mesh import Mesh, extract_mesh
from .normals import depth_picture, normals

__all__ = [
    "Eg3dConfig",
    "Eg3dGenerator",
    "Mesh",
    "Rendering",
    "View",
    "camera_parameters",
    "cameras",
    "depth_picture",
    "eg3d_shapes",
    "ellipse",
    "extract_mesh",
    "grid",
    "infer_eg3d",
    "look_at",
    "normals",
    "orbit",
    "random_poses",
    "standard_eg3d",
]
