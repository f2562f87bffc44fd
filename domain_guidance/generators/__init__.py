"""StyleGAN2 and EG3D generators: plain PyTorch networks, one file format, and safe readers of foreign files."""

from .convert import build_generator, convert, empty_generator, open_generator_file
from .eg3d import Eg3dConfig, Eg3dGenerator
from .errors import GeneratorFileError
from .generator_file import (
    GeneratorCard,
    GeneratorFile,
    Origin,
    read_generator_card,
    read_generator_file,
    write_generator_file,
)
from .layout import GeneratorConfig, infer_config, standard_config, tensor_shapes
from .selection import default_selection, driven_layers
from .stylegan2 import Generator, Mapping, Noise, Synthesis
from .styles import latents, mix, per_layer, truncate

__all__ = [
    "Eg3dConfig",
    "Eg3dGenerator",
    "Generator",
    "GeneratorCard",
    "GeneratorConfig",
    "GeneratorFile",
    "GeneratorFileError",
    "Mapping",
    "Noise",
    "Origin",
    "Synthesis",
    "build_generator",
    "convert",
    "default_selection",
    "driven_layers",
    "empty_generator",
    "infer_config",
    "latents",
    "mix",
    "open_generator_file",
    "per_layer",
    "read_generator_card",
    "read_generator_file",
    "standard_config",
    "tensor_shapes",
    "truncate",
    "write_generator_file",
]
