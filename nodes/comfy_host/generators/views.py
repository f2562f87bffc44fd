"""An EG3D generator's volumes, seen or cut out on the host's device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import Types
from torch import Tensor

from ....domain_guidance.generators import Eg3dGenerator, GeneratorFile, Noise, build_generator
from ....domain_guidance.generators.drawing import Drawing
from ....domain_guidance.generators.eg3d import Rendering, View, depth_picture, extract_mesh, normals
from ....domain_guidance.generators.eg3d.mesh import POINTS
from ....domain_guidance.generators.eg3d.poses import Poses
from ....domain_guidance.generators.relatedness import mapping_weights
from ..node_text import Say
from ..run_progress import PREVIEW_SIDE
from ..sampling import as_pictures
from .latents import Styles, given_styles
from .pictures import POINT, empty_pictures, memory_needed, on_device

CELL = 20  # bytes that a point of a mesh's grid takes: densities, what lies inside, what is cut (our choice)


@dataclass(frozen=True)
class Volume:
    """How it is looked at. rays, samples: 0 for the file's own."""

    poses: Poses | None = None
    rays: int = 0
    samples: int = 0
    rays_at_once: int = 4096
    noise: Noise = "const"


def view(
    file: GeneratorFile, drawing: Drawing, volume: Volume, latent: Styles | None = None, *, say: Say
) -> tuple[Tensor, Tensor, Tensor, Styles]:
    """IMAGEs [N, H, W, 3] of picture, depth and normals, each head by all cameras in turn, and the heads' styles.

    Raises ValueError, one sentence.
    """
    with torch.inference_mode(False), torch.no_grad():
        generator = _volume_generator(file)
        rendering = generator.config.rendering.at(volume.rays or None, volume.samples or None)
        ws = drawing.styles(generator, given_styles(latent, file, say))
        cameras = generator.cameras(None if volume.poses is None else volume.poses.tensor())
        count = len(ws) * len(cameras)
        batches = empty_pictures(count, generator.config.resolution, rendering.resolution, rendering.resolution)
        bar = comfy.utils.ProgressBar(count)
        needed = memory_needed(replace(generator.config, rendering=rendering), rays_at_once=volume.rays_at_once)
        with on_device(generator, needed=needed, advice="lower rays_at_once or samples"):
            for number, (head, camera) in enumerate(_views(generator, ws, cameras, drawing, rendering, volume)):
                for batch, picture in zip(batches, _pictures(head, camera, rendering)):
                    batch[number] = picture[0]
                bar.update_absolute(
                    number + 1, preview=("JPEG", as_pictures(batches[0][number : number + 1])[0], PREVIEW_SIDE)
                )
    images, depths, normal_maps = batches
    return images, depths, normal_maps, Styles(ws, mapping_weights(file))


def _views(
    generator: Eg3dGenerator, ws: Tensor, cameras: Tensor, drawing: Drawing, rendering: Rendering, volume: Volume
) -> Iterator[tuple[View, Tensor]]:
    device = generator.mapping.w_avg.device
    dtype = torch.float16 if comfy.model_management.should_use_fp16(device) else None
    for number, one in enumerate(ws.to(device).split(1)):
        random = torch.Generator().manual_seed(drawing.noise_seed(number))
        options = {
            "rendering": rendering,
            "rays_at_once": volume.rays_at_once,
            "generator": random,
            "noise": volume.noise,
            "dtype": dtype,
        }
        for head, camera in zip(generator.views(one, cameras.to(device), **options), cameras.to(device)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            yield head, camera[None]


def _pictures(head: View, camera: Tensor, rendering: Rendering) -> tuple[Tensor, Tensor, Tensor]:
    depth = depth_picture(head.depth, rendering.near, rendering.far).expand(-1, 3, -1, -1)
    pictures = ((head.image.float().clamp(-1, 1) + 1) / 2, depth, (normals(head.depth, camera) + 1) / 2)
    image, depth, normal = (picture.movedim(1, -1).cpu() for picture in pictures)
    return image, depth, normal


def mesh(
    file: GeneratorFile, drawing: Drawing, resolution: int, density: float, latent: Styles | None = None, *, say: Say
) -> Types.MESH:
    """The host's mesh of one head, with a colour at each vertex. Raises ValueError, one sentence."""
    with torch.inference_mode(False), torch.no_grad():
        generator = _volume_generator(file)
        given = given_styles(latent, file, say)
        ws = drawing.styles(generator, None if given is None else given[:1])
        needed = memory_needed(generator.config.backbone) + POINT * min(POINTS, resolution**3) + CELL * resolution**3
        with on_device(generator, needed=needed, advice="lower resolution"):
            planes, check = (
                generator.planes(ws.to(generator.mapping.w_avg)),
                comfy.model_management.throw_exception_if_processing_interrupted,
            )
            found = extract_mesh(generator, planes, resolution=resolution, level=density, check=check)
    # Colours of a GLB are linear light. What light there is is part of the colours, so nothing is to be lit again.
    return Types.MESH(
        found.vertices.cpu()[None],
        found.faces.cpu()[None],
        vertex_colors=_linear_light(found.colours.cpu())[None],
        unlit=True,
    )


def _linear_light(colours: Tensor) -> Tensor:
    """sRGB as IEC 61966-2-1 has it, taken back."""
    return torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _volume_generator(file: GeneratorFile) -> Eg3dGenerator:
    generator = build_generator(file)
    if not isinstance(generator, Eg3dGenerator):
        raise ValueError(
            f"The generator is of the kind {file.card.architecture}, which draws images, not volumes: connect an "
            "EG3D generator, or use Sample Generator."
        )
    return generator
