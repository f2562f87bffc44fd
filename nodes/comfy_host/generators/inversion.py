"""A picture's styles in a generator, found inside a running graph."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....domain_guidance.data import BatchImages, ImageError
from ....domain_guidance.generators import Eg3dGenerator, Generator, GeneratorFile, build_generator
from ....domain_guidance.generators.eg3d.poses import Poses
from ....domain_guidance.generators.invert import Features, Found, Inversion, fitted, invert
from ....domain_guidance.generators.relatedness import mapping_weights
from ..node_text import tell_here
from ..run_progress import PREVIEW_SIDE
from ..sampling import as_pictures
from .latents import Styles
from .pictures import draw_one, memory_needed, on_device

PREVIEW_EVERY = 10  # steps


@dataclass(frozen=True)
class Inverted:
    """What a search found, for the node's outputs.

    styles: of each of the images. pictures: what they draw, [N, R, R, 3]. is_whole: whether no Cancel ended the search.
    """

    styles: Styles
    pictures: Tensor
    is_whole: bool


def invert_images(
    file: GeneratorFile,
    images: Tensor,
    settings: Inversion,
    clip_vision: comfy.clip_vision.ClipVisionModel | None = None,
    poses: Poses | None = None,
) -> Inverted:
    """Looks for the styles of images [N, H, W, 3 or 4], one after the other.

    A Cancel ends it with what is found so far.

    poses: from where the images were taken, one for all or one for each; of an EG3D, from the front where they are left
    out. Raises ValueError, one sentence; a Cancel before anything is found is passed on.
    """
    with torch.inference_mode(False):
        generator = build_generator(file)
        wanted = _wanted(images, generator.config.resolution)
        cameras = _cameras(generator, poses, len(wanted))
        with on_device(generator, needed=memory_needed(generator.config, gradient=True)):
            features = None if clip_vision is None else clip_features(clip_vision, generator.mapping.w_avg.device)
            found = _found(generator, wanted, cameras, settings, features)
            pictures = torch.stack([_picture(generator, one, camera) for one, camera in zip(found, cameras)])
    return Inverted(
        Styles(torch.cat([one.ws for one in found]).cpu(), mapping_weights(file)),
        pictures,
        len(found) == len(wanted) and found[-1].step == settings.steps,
    )


def _wanted(images: Tensor, resolution: int) -> Tensor:
    source = BatchImages(images)
    try:
        return torch.cat([fitted(source.load(number)[None], resolution) for number in range(len(source))])
    except ImageError as error:
        raise ValueError(f"One of the {len(source)} images cannot be searched for, because {error}.") from error


def _cameras(generator: Generator | Eg3dGenerator, poses: Poses | None, count: int) -> list[Tensor | None]:
    if poses is None:
        return [None for _ in range(count)]
    if not isinstance(generator, Eg3dGenerator):
        raise ValueError(
            "Cameras are connected, but the generator draws images, not volumes: disconnect them, or connect an "
            "EG3D generator."
        )
    cameras = generator.cameras(poses.tensor()).split(1)
    if len(cameras) not in (1, count):
        raise ValueError(
            f"{len(cameras)} cameras are connected for {count} images: use one for all of them, or one for each."
        )
    return [*cameras] * (count // len(cameras))


def clip_features(clip_vision: comfy.clip_vision.ClipVisionModel, device: torch.device) -> Features:
    """The tokens before the last layer, from a copy of the network that a gradient can go through.

    The user's own network cannot be differentiated.
    """
    if clip_vision.model_type == "siglip2_vision_model":
        raise ValueError(
            "The connected clip_vision is a SigLIP 2, which divides images in a way that is not supported here: "
            "connect a CLIP, a SigLIP 1 or a DINO, or none."
        )
    copy = comfy.clip_vision.ClipVisionModel(clip_vision.config).model
    copy.load_state_dict(
        {name: tensor.detach().clone().float() for name, tensor in clip_vision.get_sd().items()},
        strict=False,
        assign=True,
    )
    comfy.model_management.free_memory(comfy.model_management.module_size(copy), device)
    copy.requires_grad_(False).eval().to(device)
    for norm in (module for module in copy.modules() if isinstance(module, nn.LayerNorm)):
        norm.register_forward_pre_hook(_own_input)
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] for values in (clip_vision.image_mean, clip_vision.image_std)
    )
    size = (clip_vision.image_size, clip_vision.image_size)

    def features(pictures: Tensor) -> Tensor:
        resized = F.interpolate(pictures, size=size, mode="bilinear", align_corners=False, antialias=True)
        return copy(pixel_values=((resized + 1) / 2 - mean) / std, intermediate_output=-2)[1].float()

    return features


def _own_input(_, inputs: tuple) -> tuple:
    """The host's blocks add into the tensor that a norm has kept for its gradient."""
    return (inputs[0].clone(), *inputs[1:])


def _found(
    generator: Generator | Eg3dGenerator,
    wanted: Tensor,
    cameras: list[Tensor | None],
    settings: Inversion,
    features: Features | None,
) -> list[Found]:
    """The end of the search for each picture, or up to a Cancel, whose picture is the closest so far."""
    found: list[Found] = []
    bar = comfy.utils.ProgressBar(settings.steps * len(wanted))
    try:
        for number, (picture, camera) in enumerate(zip(wanted.to(generator.mapping.w_avg.device).split(1), cameras)):
            for step in invert(generator, picture, settings, features, camera):
                comfy.model_management.throw_exception_if_processing_interrupted()
                found[number:] = [step]
                shown = step.step and (step.step % PREVIEW_EVERY == 0 or step.step == settings.steps)
                preview = (
                    ("JPEG", as_pictures(_picture(generator, step, camera)[None])[0], PREVIEW_SIDE) if shown else None
                )
                bar.update_absolute(number * settings.steps + step.step, preview=preview)
    except comfy.model_management.InterruptProcessingException:
        if not found:
            raise
        tell_here(
            "The search was cancelled at step %d for image %d of %d; what was found so far is kept.",
            found[-1].step,
            len(found),
            len(wanted),
        )
    return found


@torch.no_grad()
def _picture(generator: Generator | Eg3dGenerator, found: Found, camera: Tensor | None) -> Tensor:
    return draw_one(generator, found.ws, "const", camera=camera)
