"""A spatial control for the toy world: a mask of where the ink is, read by a small network.

The frozen base alone has trained the network. It is made in the manner of T2I-Adapter (Mou et al. 2023, arXiv
2302.08453): it reads the mask and neither the noisy picture nor the prompt. What it says is added where a ControlNet's
answers are, to the skip connections, by convolutions that begin at zero. Our choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import runs, training
from ..diffusion.noise_schedule import scaled_linear
from ..files.atomic_file import save_tensors
from ..toy_world import checkpoints
from ..toy_world.digits import Digits, load_digits
from ..toy_world.model import UNET_CONFIG
from ..toy_world.prompts import Prompts, encode, forget_slots
from ..toy_world.scenes import Scenes, paint_domain, paint_open_world
from ..toy_world.stages import FORGET_SLOTS, FORGET_WHOLE, form_weight
from .plan import BATCH

WIDTH = UNET_CONFIG["block_out_channels"][0]
LEVELS = (0, 0, 1, 1)  # of the four skip connections, and 1 is the middle's: 0 is 16 px, 1 is 8 px
INK = 0.5  # of a picture's strongest ink: what counts as inked
PRECISION = 1e-4
MASK_SEED = 616


class ControlNetwork(nn.Module):
    """Masks [B, 1, 16, 16] of 0 and 1 to the further arguments of a diffusers UNet."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(1, WIDTH, 3, padding=1), nn.SiLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.SiLU()
        )
        self.second = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1), nn.SiLU())
        answers = [nn.Conv2d(WIDTH, WIDTH, 1) for _ in (*LEVELS, 1)]
        for parameter in nn.ModuleList(answers).parameters():
            nn.init.zeros_(parameter)
        self.answers = nn.ModuleList(answers)

    def forward(self, mask: Tensor) -> dict[str, object]:
        fine = self.first(mask * 2 - 1)
        levels = fine, self.second(fine)
        *down, middle = (answer(levels[level]) for answer, level in zip(self.answers, (*LEVELS, 1)))
        return {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}


@dataclass(frozen=True)
class Inked:
    """Scenes, and where their ink is: masks [N, 1, 16, 16] of 0 and 1."""

    scenes: Scenes
    masks: Tensor


def inked(
    paint: Callable[[Digits, int, torch.Generator], Scenes], digits: Digits, count: int, generator: torch.Generator
) -> Inked:
    """Scenes painted twice from the same randomness, with ink and without: where they differ is ink."""
    state = generator.get_state()
    scenes = paint(digits, count, generator)
    generator.set_state(state)
    blank = paint(Digits(torch.zeros_like(digits.ink), digits.labels), count, generator)
    contrast = (scenes.images - blank.images).abs().amax(1, keepdim=True)
    return Inked(scenes, (contrast > INK * contrast.amax((2, 3), keepdim=True)).float())


def asked_masks(asked: Prompts) -> Tensor:
    """For each prompt the mask [N, 1, 16, 16] of a held-out plate that shows its digit; no plate twice."""
    pool = inked(
        paint_domain, load_digits("held_out"), 1000 + 20 * len(asked), torch.Generator().manual_seed(MASK_SEED)
    )
    waiting = {digit: iter((pool.scenes.digit == digit).nonzero().flatten().tolist()) for digit in range(10)}
    return pool.masks[[next(waiting[digit]) for digit in asked.digit.tolist()]]


def kept(images: Tensor, masks: Tensor) -> float:
    """Measure how much of what varies within a picture its mask explains, a mean in [0, 1].

    It is the between-class over all variance of the colours. Pixels are those within 5.5 of the middle: on a plate the
    rim, which no mask shows, lies farther out.
    """
    line = torch.arange(16) - 7.5
    window = (line[:, None].square() + line.square()).sqrt() < 5.5
    colours, inside = images.clamp(-1, 1)[..., window], masks[..., window]  # [N, 3, P], [N, 1, P]
    mean = colours.mean(2, keepdim=True)
    between = torch.zeros(len(images))
    for side in (inside, 1 - inside):
        size = side.sum(2).clamp(min=1)
        level = (colours * side).sum(2) / size
        between += (side.sum(2) * (level - mean[..., 0]).square()).sum(1)
    return (between / (colours - mean).square().sum((1, 2)).clamp(min=PRECISION)).mean().item()


def train_control(file: Path, steps: int, device: torch.device, seed: int = 0) -> None:
    """Train the control network on the base's own world, and write it; the base stays as it is."""
    unet, table = checkpoints.load_base()
    nn.Module.to(unet, device)
    digits = load_digits("base")
    torch.manual_seed(seed)
    control = ControlNetwork().to(device)

    def data(generator: torch.Generator) -> training.Batch:
        shown = inked(paint_open_world, digits, BATCH, generator)
        asked = Prompts(shown.scenes.digit, shown.scenes.stroke, shown.scenes.ground)
        prompt = encode(forget_slots(asked, FORGET_WHOLE, FORGET_SLOTS, generator), table)
        return training.Batch(shown.scenes.images.to(device), (prompt.to(device), shown.masks.to(device)))

    def predict(noisy: Tensor, timestep: Tensor, conditioning: tuple[Tensor, Tensor]) -> Tensor:
        prompt, masks = conditioning
        return unet(noisy, timestep, prompt, return_dict=False, **control(masks))[0]

    settings = runs.Settings(steps=steps, learning_rate=1e-3, warmup=min(20, steps - 1), cosine=True, seed=seed)
    state = runs.TrainingState(control, settings)
    for _ in runs.train(state, training.noise_objective(predict, data, scaled_linear(), weight=form_weight), settings):
        pass
    save_tensors(file, {name: tensor.cpu() for name, tensor in control.state_dict().items()}, {})


@torch.no_grad()
def control_answers(file: Path, masks: Tensor, device: torch.device) -> dict[str, object]:
    """What a written control network says of masks, as further arguments of every UNet of a world."""
    control = ControlNetwork()
    control.load_state_dict(load_file(file))
    return control.to(device)(masks.to(device))
