"""Preview pictures while a model trains: what it draws by itself, without guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from ..data import Size
from ..diffusion.parameterization import denoised, network_input
from ..diffusion.sampling import draw
from ..pictures.pixels import as_picture
from .trainable import Trainable

STEPS = 12


@torch.no_grad()
def draw_preview(
    trainable: Trainable,
    decode: Callable[[Tensor], Tensor],
    bucket: Size,
    shape: Sequence[int],
    count: int,
    seed: int = 0,
) -> Image.Image:
    """`count` pictures of the bucket's size in a row, always from the same noise. For noise and velocity models.

    shape: of one latent, (C, h, w). decode: latents [1, C, h, w] in the model's scale -> pictures [1, 3, H, W] in [-1,
    1].
    """
    drawn = [decode(_draw(trainable, bucket, shape, seed + number)) for number in range(count)]
    return as_picture(torch.cat(drawn, dim=3)[0])


def _draw(trainable: Trainable, bucket: Size, shape: Sequence[int], seed: int) -> Tensor:
    device, conditioning = next(trainable.module.parameters()).device, trainable.conditioning(1, bucket)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        scaled = network_input(x, sigma, trainable.prediction)
        output = trainable.predict(scaled, trainable.schedule.timestep(sigma), conditioning)
        return denoised(output.float(), x, sigma, trainable.prediction)

    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)).to(device)
    return draw(denoise, noise, trainable.schedule, STEPS)
