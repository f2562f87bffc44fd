"""Training what the methods need, with the command that users have, and reading it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from ..__main__ import main as command_line
from ..diffusers_host.denoiser import DiffusersDenoiser
from ..diffusers_host.trained_file import load_trained
from ..diffusion.noise_schedule import scaled_linear
from ..domains.training_forms import SIDE_NETWORK
from ..files.atomic_file import replacing
from ..side_networks import SideNetwork, read_side_file
from ..toy_world import checkpoints
from ..toy_world.digits import load_digits
from ..toy_world.export import write_base_folder
from ..toy_world.prompts import encode_prompt
from ..toy_world.scenes import paint_domain
from .plan import BATCH, EARLY, EVALUATE_EVERY, LARGEST, RATES, Plan
from .world import World

WEAK = 10  # the weak model's share of the steps is one in so many
SHIPPED = {"empty-prompt": checkpoints.FINE_TUNE, "text-free": checkpoints.DOMAIN}
IMAGE_SEED = 1200


@dataclass(frozen=True)
class Workshop:
    """Where models are trained for the comparison, and read back.

    folder: of everything that is trained, and of the pictures. device: of training and drawing. base: the toy world's
    file that everything is trained on.
    """

    folder: Path
    plan: Plan
    device: torch.device
    base: str = checkpoints.BASE

    def file(self, name: str, size: int, seed: int) -> Path:
        """What the training of this name is for: its last file, or its best one where it is stopped early."""
        last = self.last_file(name, size, seed)
        return last.with_suffix(f".best{last.suffix}") if name.endswith(EARLY) else last

    def last_file(self, name: str, size: int, seed: int) -> Path:
        """What the training of this name writes at its end; its best file may be there long before."""
        return self.folder / "domains" / f"{_run(name, size, seed)}.safetensors"

    def write_base(self) -> Path:
        """The folder of the base in diffusers' form, which is written if it is not there yet."""
        folder = self.folder / "base"
        if not (folder / "model_index.json").exists():
            unet, table = checkpoints.load_base(name=self.base)
            write_base_folder(folder, unet, encode_prompt(table))
        return folder

    def train(self, name: str, size: int, seed: int) -> None:
        """Run `python -m domain_guidance train` for one form of training.

        It may be one that is stopped early, or `weak`: the fine-tune with a tenth of the steps.
        """
        form = "empty-prompt" if name == "weak" else name.removesuffix(EARLY)
        steps = max(1, self.plan.steps // WEAK) if name == "weak" else self.plan.steps
        images = self._images(f"plates-{size}-{seed}", training_pictures(size, seed))
        self._command(form, images, _run(name, size, seed), steps, seed, EVALUATE_EVERY if name.endswith(EARLY) else 0)

    def train_other(self, name: str, images: Tensor, seed: int) -> Path:
        """A text-free domain of other pictures [N, 3, 16, 16]."""
        run = _run(name, len(images), seed)
        self._command("text-free", self._images(run, images), run, self.plan.steps, seed)
        return self.file(name, len(images), seed)

    def world(self, names: Iterable[str] = (), size: int = 0, seed: int = 0) -> World:
        """The base and the trained models of these names.

        Those that were stopped early are in it under their plain names.
        """
        files = {name.removesuffix(EARLY): self.file(name, size, seed) for name in names}
        side = files.pop(SIDE_NETWORK, None)
        unets = {name: unet_of_file(file, self.base) for name, file in files.items()}
        return self._world(unets, side and read_side_file(side).network)

    def shipped_world(self) -> World:
        """The base, and the fine-tune, the text-free domain and the side network that come with the pack."""
        unets = {name: checkpoints.load_domain(file) for name, file in SHIPPED.items()}
        return self._world(unets, checkpoints.load_side_network().network)

    def _world(self, unets: Mapping[str, nn.Module], side: SideNetwork | None) -> World:
        base, table = checkpoints.load_base(name=self.base)
        schedule = scaled_linear()
        models = {
            name: DiffusersDenoiser(unet.to(self.device), schedule) for name, unet in {"base": base, **unets}.items()
        }
        return World(
            models,
            side and side.to(self.device),
            table.to(self.device),
            checkpoints.load_judge().to(self.device),
            schedule,
            self.plan.sampling,
        )

    def _images(self, name: str, images: Tensor) -> Path:
        folder = self.folder / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, levels in enumerate(_levels(images)):
            file = folder / f"{number:05d}.png"
            if not file.exists():  # another process may be reading it
                with replacing(file, durable=False) as part:
                    Image.fromarray(levels.numpy()).save(part, "PNG")
        return folder

    def _command(self, form: str, images: Path, name: str, steps: int, seed: int, evaluate_every: int = 0) -> None:
        words = {
            "base": self.write_base(),
            "images": images,
            "out": self.folder / "domains",
            "name": name,
            "cache": images.with_name(f"{images.name} latents"),
            "form": form,
            "resolution": 16,
            "mirror": 0,
            "batch-size": BATCH,
            "learning-rate": RATES[form],
            "schedule": "cosine",
            "warmup": min(20, steps - 1),
            "steps": steps,
            "seed": seed,
            "evaluate-every": evaluate_every,
            "precision": "fp32",
        }
        ended = command_line(["train", *(word for name, value in words.items() for word in (f"--{name}", str(value)))])
        if ended:
            raise SystemExit(ended)


def training_pictures(size: int, seed: int) -> Tensor:
    """Plates [N, 3, 16, 16] of the handwriting that domains are trained on.

    A smaller set is the beginning of a larger one.
    """
    generator = torch.Generator().manual_seed(IMAGE_SEED + seed)
    images = paint_domain(load_digits("domain"), max(size, LARGEST), generator).images[:size]
    return _levels(images).movedim(-1, 1) / 127.5 - 1  # as a picture file holds them


def _run(name: str, size: int, seed: int) -> str:
    return f"{name}-{size}-{seed}"


def unet_of_file(file: Path, base: str = checkpoints.BASE) -> nn.Module:
    unet, _ = checkpoints.load_base(name=base)
    load_trained(file, unet)
    return unet


def _levels(images: Tensor) -> Tensor:
    """Pictures [N, 3, H, W] in [-1, 1] as uint8 [N, H, W, 3]."""
    return ((images + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)
