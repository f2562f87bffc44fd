"""Comparing images with the host's CLIP vision model, under its progress bar, Cancel and output folder."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import folder_paths
from torch import Tensor

from ...domain_guidance.data import ImageSource
from ...domain_guidance.evaluation import Comparison, compare, write_json
from ...domain_guidance.files.file_names import refusal, versions

BATCH = 16  # images; a ViT-H of the host needs about 1 GB for as many


class HostEncoder:
    """The host's CLIP vision model as an `evaluation.Encoder`: its image embeddings."""

    def __init__(self, clip_vision: comfy.clip_vision.ClipVisionModel):
        self._clip_vision = clip_vision
        kind, config = clip_vision.model_type.removesuffix("_vision_model"), clip_vision.config
        # A SigLIP 2 has no size of its own: it cuts any picture into so many patches.
        self.size = (
            clip_vision.image_size
            if clip_vision.image_size > 0
            else config["patch_size"] * math.isqrt(config["num_patches"])
        )
        width = config["hidden_size"]
        self.name = f"{kind} of width {width} at {self.size} px"  # the host keeps no file name

    def __call__(self, pixels: Tensor) -> Tensor:
        images = ((pixels + 1) / 2).movedim(1, -1)
        return self._clip_vision.encode_image(images)["image_embeds"]


def evaluate_in_host(
    clip_vision: comfy.clip_vision.ClipVisionModel,
    samples: ImageSource,
    reference: ImageSource,
    save_name: str,
    neighbours: int,
    seed: int,
) -> tuple[Comparison, Path]:
    """The comparison, and the JSON file that it was written to. Raises ValueError, one sentence."""
    folder = folder_paths.get_output_directory()
    free_path(folder, save_name)  # before any work, that there can be one
    check = comfy.model_management.throw_exception_if_processing_interrupted
    bar = comfy.utils.ProgressBar(len(samples) + len(reference))

    def done(count: int) -> None:
        bar.update_absolute(count)
        check()

    made = compare(
        samples,
        reference,
        HostEncoder(clip_vision),
        neighbours=neighbours,
        seed=seed,
        batch_size=BATCH,
        done=done,
        check=check,
    )
    try:
        path = _written(folder, save_name, made.facts)
    except OSError as error:
        raise ValueError(
            f"The file '{free_path(folder, save_name)}' cannot be written ({error.strerror}): check the output folder."
        ) from error
    logging.info("Domain Guidance: the evaluation was saved to '%s'.", path)
    return made, path


def _written(folder: str, name: str, facts: dict[str, Any]) -> Path:
    """Writes the facts under the first free version of the name, however many processes do so at once."""
    while True:
        path = free_path(folder, name)
        try:
            write_json(path, facts, free=True)
        except FileExistsError:  # another process was faster
            continue
        return path


def free_path(folder: str, name: str) -> Path:
    """name.json in the folder, or the first of name-2.json, ... that is free.

    Raises ValueError for a name that no file may have.
    """
    name = name.removesuffix(".json")
    if problem := refusal(name):
        raise ValueError(problem)
    paths = (Path(folder) / f"{version}.json" for version in versions(name))
    return next(path for path in paths if not os.path.lexists(path))  # a link to nothing is not free either
