"""A generator's pictures, drawn on the host's device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ....domain_guidance.generators import (
    Eg3dConfig,
    Eg3dGenerator,
    Generator,
    GeneratorConfig,
    GeneratorFile,
    Noise,
    build_generator,
)
from ....domain_guidance.generators.drawing import Drawing
from ....domain_guidance.generators.eg3d.renderer import RAYS
from ....domain_guidance.generators.relatedness import mapping_weights
from ..node_text import Say
from ..out_of_memory import out_of_memory
from .latents import Styles, given_styles

MAKE_ROOM = "close other programs that use it, or start ComfyUI with --cpu"
# bytes that a point of a volume takes while it is rendered: features of three planes, the decoder's layers, colour (our
# choice)
POINT = 2048


def sample(
    file: GeneratorFile, drawing: Drawing, noise: Noise, latent: Styles | None = None, *, say: Say
) -> tuple[Tensor, Styles]:
    """IMAGE [N, R, R, 3] and the styles that it was drawn from. Raises ValueError, one sentence."""
    with torch.inference_mode(False), torch.no_grad():
        generator = build_generator(file)
        # On the CPU, so that a seed has the same styles on every machine.
        ws = drawing.styles(generator, given_styles(latent, file, say))
        with on_device(generator, needed=memory_needed(generator.config)):
            return _drawn(generator, ws, drawing, noise), Styles(ws, mapping_weights(file))


def empty_pictures(count: int, *sides: int) -> tuple[Tensor, ...]:
    """Room on the CPU for a batch [count, side, side, 3] of each side.

    Raises ValueError where together they would take more memory than is free.
    """
    needed = count * sum(side * side for side in sides) * 3 * torch.float32.itemsize
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    if needed > free:
        raise ValueError(
            f"{count * len(sides)} pictures of up to {max(sides)} x {max(sides)} pixels take {needed / 2**30:.1f} GB, "
            f"and {free / 2**30:.1f} GB of memory are free: draw fewer at once."
        )
    return tuple(torch.empty(count, side, side, 3) for side in sides)


@contextmanager
def on_device(generator: Generator | Eg3dGenerator, *, needed: int, advice: str = MAKE_ROOM) -> Iterator[None]:
    """Within the block the network is on the host's device, which was asked for room first.

    needed: bytes beside the weights. advice: what takes less. Raises ValueError, one sentence that ends with it, if the
    device runs out of memory.
    """
    device = comfy.model_management.get_torch_device()
    comfy.model_management.free_memory(needed + comfy.model_management.module_size(generator), device)
    with out_of_memory(
        lambda: f"The device ran out of memory with a generator of {generator.config.resolution} px: {advice}."
    ):
        generator.to(device)
        yield


def memory_needed(config: GeneratorConfig | Eg3dConfig, *, gradient: bool = False, rays_at_once: int = RAYS) -> int:
    """Bytes of the feature maps of one picture in float32: those of the widest layers, or all that a gradient keeps.

    Of a volume, whose rays are rendered anew for the gradient, the points of so many at a time.
    """
    if isinstance(config, Eg3dConfig):
        points = min(rays_at_once, config.rendering.resolution**2) * (
            config.rendering.samples + config.rendering.importance_samples
        )
        enlarging = 4 * max(config.superresolution_widths) * config.resolution**2
        return memory_needed(config.backbone, gradient=gradient) + (10 if gradient else 4) * enlarging + POINT * points
    maps = [4 * width * pixels**2 for width, pixels in zip(config.widths, config.resolutions)]
    return 10 * sum(maps) if gradient else 4 * max(maps)


def draw_one(
    generator: Generator | Eg3dGenerator, ws: Tensor, noise: Noise, seed: int = 0, camera: Tensor | None = None
) -> Tensor:
    """A picture [R, R, 3] in 0..1, on the CPU, of styles [1, L, w_dim].

    camera: [1, 25], for an EG3D generator; the one in front if left out.
    """
    device = generator.mapping.w_avg.device
    dtype = torch.float16 if comfy.model_management.should_use_fp16(device) else None
    views = () if camera is None else (camera,)
    image = generator.synthesis(
        ws.to(device), *views, noise=noise, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )
    return ((image[0].float().clamp(-1, 1) + 1) / 2).movedim(0, -1).cpu()


def _drawn(generator: Generator | Eg3dGenerator, ws: Tensor, drawing: Drawing, noise: Noise) -> Tensor:
    # One at a time: in a batch, a picture's last digits would depend on how many there are.
    (pictures,) = empty_pictures(len(ws), generator.config.resolution)
    bar = comfy.utils.ProgressBar(len(ws))
    for number, one in enumerate(ws.split(1)):
        comfy.model_management.throw_exception_if_processing_interrupted()
        pictures[number] = draw_one(generator, one, noise, drawing.noise_seed(number))
        bar.update_absolute(number + 1)  # no preview: it would stay at the node, over its neighbours
    return pictures
