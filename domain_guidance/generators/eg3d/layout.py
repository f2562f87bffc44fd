"""What an EG3D generator (arXiv 2112.07945) consists of: sizes, rendering and tensors.

The names of the tensors are those of the published files, without the constant filters. Sizes are read from the shapes;
no shape tells how it is rendered, which is the file's own word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from ..errors import Refused
from ..layout import (
    MAX_SIZE,
    GeneratorConfig,
    Shapes,
    block_shapes,
    check_shapes,
    infer_sizes,
    size,
    standard_config,
    tensor_shapes,
)

PLANES = 3
CAMERA = 25  # numbers of a camera: 16 of the matrix from camera to world, 9 of the intrinsics
MAX_PIXELS, MAX_SAMPLES = 1024, 1024


@dataclass(frozen=True)
class Rendering:
    """How the volume is made an image.

    resolution: rays in each direction. samples, importance_samples: of a ray, spread evenly, and where those found
    matter.
    near, far: where rays begin and end, in the world's units. box: edge of the cube that the planes cover. white: what
    shines through, black otherwise.
    """

    resolution: int = 128
    samples: int = 48
    importance_samples: int = 48
    near: float = 2.25
    far: float = 3.3
    box: float = 1.0
    white: bool = False

    def __post_init__(self):
        if not (type(self.resolution) is int and 1 <= self.resolution <= MAX_PIXELS):
            raise ValueError(f"The volume is to be rendered at {self.resolution} px, expected 1 to {MAX_PIXELS}.")
        for count, least in ((self.samples, 2), (self.importance_samples, 0)):
            if not (type(count) is int and least <= count <= MAX_SAMPLES):
                raise ValueError(f"A ray is to have {count} samples, expected {least} to {MAX_SAMPLES}.")
        if not (0 < self.near < self.far < float("inf") and 0 < self.box < float("inf")):
            raise ValueError(
                f"Rays from {self.near} to {self.far} through a box of {self.box} are given, expected rising "
                "positive numbers."
            )

    def at(self, rays: int | None = None, samples: int | None = None) -> Rendering:
        """The same rendering with other rays in each direction, or other samples of a ray.

        There are as many samples again where they matter; None keeps a number as it is.
        """
        changed = {"resolution": rays, "samples": samples, "importance_samples": samples}
        return replace(self, **{name: count for name, count in changed.items() if count is not None})


@dataclass(frozen=True)
class Eg3dConfig:
    """An EG3D generator: a StyleGAN2 whose image is the three planes, a decoder, and a super-resolution of two blocks.

    resolution: of the final image. superresolution_doublings: 2 where both blocks of the super-resolution double their
    input, 1 where only the last one does. decoder_rate: the learning-rate
    multiplier of the decoder's layers. camera_scale: factor of the camera that the mapping reads, 0 for a generator
    that was trained without.
    pivot, radius: what published cameras look at, and their distance from the origin.
    """

    architecture: ClassVar[str] = "eg3d"
    backbone: GeneratorConfig
    resolution: int = 512
    superresolution_widths: tuple[int, int] = (256, 128)
    superresolution_clamp: float | None = None
    superresolution_noise: Literal["const", "random", "none"] = "none"
    superresolution_doublings: int = 2
    decoder_width: int = 64
    decoder_rate: float = 1.0
    camera_scale: float = 1.0
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)
    radius: float = 2.7
    rendering: Rendering = Rendering()

    def __post_init__(self):
        if self.superresolution_noise not in ("const", "random", "none"):
            raise ValueError(f"The noise {self.superresolution_noise!r:.40} is given, expected const, random or none.")
        if self.superresolution_doublings not in (1, 2):
            raise ValueError(f"{self.superresolution_doublings!r:.40} doublings are given, expected 1 or 2.")
        if len(self.pivot) != 3 or not all(abs(number) < 1e6 for number in (*self.pivot, self.camera_scale)):
            raise ValueError(f"The pivot {self.pivot} is given, expected three numbers.")
        if not (0 < self.radius < 1e6 and 0 < self.decoder_rate < 1e6):
            raise ValueError(f"The radius {self.radius} is given, expected a positive number.")
        replace(self.backbone, conv_clamp=self.superresolution_clamp)  # which checks the clamp

    @property
    def features(self) -> int:
        """Channels of each plane, of a ray's colour and of the super-resolution's input."""
        return self.backbone.channels // PLANES

    @property
    def z_dim(self) -> int:
        return self.backbone.z_dim

    @property
    def w_dim(self) -> int:
        return self.backbone.w_dim

    @property
    def c_dim(self) -> int:
        return self.backbone.c_dim

    @property
    def style_count(self) -> int:
        """Styles of one image; the last of them drives the super-resolution too."""
        return self.backbone.style_count

    @property
    def enlarged_from(self) -> int:
        """The size at which the super-resolution begins, in pixels."""
        return self.resolution >> self.superresolution_doublings

    @property
    def superresolution(self) -> GeneratorConfig:
        """What the layers of the super-resolution have of a StyleGAN2's."""
        return replace(self.backbone, channels=3, conv_clamp=self.superresolution_clamp)

    def inferred(self, shapes: Shapes) -> Eg3dConfig:
        """The sizes of the generator of these tensors; what shapes do not tell is this one's. Raises Refused."""
        sizes = infer_eg3d(shapes, conv_clamp=self.backbone.conv_clamp)
        told = ("backbone", "resolution", "superresolution_widths", "decoder_width")
        return replace(self, **{name: getattr(sizes, name) for name in told})


def standard_eg3d(**settings) -> Eg3dConfig:
    """The published generator of 512 px from 128 rays in each direction. settings: the other fields of Eg3dConfig."""
    return Eg3dConfig(standard_config(256, c_dim=CAMERA, mapping_layers=2, channels=32 * PLANES), **settings)


def eg3d_shapes(config: Eg3dConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a generator, buffers included."""
    backbone = {f"backbone.{name}": shape for name, shape in tensor_shapes(config.backbone).items()}
    return {**backbone, **dict(_superresolution_shapes(config)), **dict(_decoder_shapes(config))}


def infer_eg3d(shapes: Shapes, *, conv_clamp: float | None = None, **told) -> Eg3dConfig:
    """The config of the generator that tensors of these names and shapes make up; every one is checked.

    conv_clamp: the backbone's. told: those fields of Eg3dConfig that no shape tells. Raises Refused naming the first
    tensor that does not fit.
    """
    backbone = replace(
        infer_sizes(shapes, prefix="backbone.", conv_clamp=conv_clamp),
        channels=PLANES * size(shapes, "decoder.net.0.weight", 1, of=2),
    )
    config = Eg3dConfig(
        backbone,
        resolution=size(shapes, "superresolution.block1.conv1.noise_const", 0, of=2),
        superresolution_widths=(
            size(shapes, "superresolution.block0.conv1.weight", 0, of=4),
            size(shapes, "superresolution.block1.conv1.weight", 0, of=4),
        ),
        decoder_width=size(shapes, "decoder.net.0.weight", 0, of=2),
        **told,
    )
    if backbone.c_dim != CAMERA:
        raise Refused(f"its mapping reads {backbone.c_dim} numbers of a camera, expected {CAMERA}")
    if (
        max(config.features, config.decoder_width, *config.superresolution_widths) > MAX_SIZE
        or config.resolution > 2 * MAX_PIXELS
    ):
        raise Refused("its layers are larger than those of any known generator")
    if config.resolution < 16 or config.resolution % 4:
        raise Refused(f"its image is of {config.resolution} pixels, which is not four times that of its volume")
    check_shapes(shapes, eg3d_shapes(config))
    return config


def _superresolution_shapes(config: Eg3dConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    first, second = config.superresolution_widths
    yield from block_shapes(
        "superresolution.block0", config.features, first, config.resolution // 2, config.superresolution
    )
    yield from block_shapes("superresolution.block1", first, second, config.resolution, config.superresolution)


def _decoder_shapes(config: Eg3dConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "decoder.net.0.weight", (config.decoder_width, config.features)
    yield "decoder.net.0.bias", (config.decoder_width,)
    yield "decoder.net.2.weight", (1 + config.features, config.decoder_width)
    yield "decoder.net.2.bias", (1 + config.features,)
