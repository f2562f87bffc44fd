"""The toy world as a user's own files: a diffusers folder of the base, and pictures to train with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from ..diffusers_host.folder import EMPTY_PROMPT_FILE
from ..files.atomic_file import save_tensors
from . import checkpoints
from .plates import painted_plates
from .prompts import encode_prompt

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

PICTURES = 2000


def export(folder: Path, pictures: int = PICTURES) -> None:
    """Write `base`, for `--base` of the train command, and `images`, so many plates as PNG files.

    Needs scikit-learn.
    """
    unet, table = checkpoints.load_base()
    write_base_folder(folder / "base", unet, encode_prompt(table))
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for number, plate in enumerate(painted_plates(pictures)):
        Image.fromarray(plate.numpy()).save(images / f"{number:05d}.png")


def write_base_folder(folder: Path, unet: UNet2DConditionModel, empty: Tensor) -> None:
    """Write a diffusers folder without VAE and text encoder.

    Pixels are the latents. empty: [1, 4, 32], the empty prompt.
    """
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    unet.save_pretrained(folder / "unet")
    scheduler = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear")  # noise_schedule.scaled_linear's own
    scheduler.save_pretrained(folder / "scheduler")
    save_tensors(folder / EMPTY_PROMPT_FILE, {"cross_attn": empty}, {})
    index = {"unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DiffusionPipeline", **index}, indent=2) + "\n")
