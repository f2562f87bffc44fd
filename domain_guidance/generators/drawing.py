"""What is asked of a generator in one go: seeds, or a way through them, and what is done to their styles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .eg3d.generator import Eg3dGenerator
from .errors import GeneratorFileError
from .generator_file import GeneratorFile
from .interpolation import spherical, walk
from .layout import GeneratorConfig
from .stylegan2 import Generator
from .styles import latents, mix

Way = Literal["none", "z", "w"]


@dataclass(frozen=True)
class Drawing:
    """`count` pictures: of `seed`, `seed` + 1, ..., or frames on a way from seed to seed.

    truncation: psi; of the first `cutoff` styles, None for all. label: class of a generator that knows classes.
    mix_from: styles from this number up come from `mix_seed`, None for no mixing. way: none; on arcs between the
    latents (z); straight between the styles (w). stops: seeds on the way. loop: the way leads back to the first one.
    """

    seed: int
    count: int = 1
    truncation: float = 1.0
    cutoff: int | None = None
    label: int | None = None
    mix_from: int | None = None
    mix_seed: int = 0
    way: Way = "none"
    stops: int = 2
    loop: bool = False

    @torch.no_grad()
    def styles(self, generator: Generator | Eg3dGenerator, given: Tensor | None = None) -> Tensor:
        """Styles [N, L, w_dim], each computed by itself, so that none depends on how many are asked for.

        given: styles to take instead of those of the seeds, as they are; a way leads through all of them.
        Raises ValueError, one sentence.
        """
        if given is not None:
            check_styles(given, generator)
            ws = given if self.way == "none" else self._way_through(given)
        elif self.way == "none":
            ws = self._of_latents(generator, self._latents(generator, self.count))
        elif self.way == "z":
            ws = self._of_latents(
                generator, walk(self._latents(generator, self.stops), self.count, spherical, loop=self.loop)
            )
        else:
            ws = self._way_through(self._of_latents(generator, self._latents(generator, self.stops)))
        return ws if self.mix_from is None else self._mixed(generator, ws, self.mix_from)

    def noise_seed(self, number: int) -> int:
        """For the random noise of picture `number`. Frames of a way share theirs, or they would flicker."""
        return (self.seed + (number if self.way == "none" else 0)) % 2**63

    def _latents(self, generator: Generator | Eg3dGenerator, count: int) -> Tensor:
        return latents([(self.seed + number) % 2**64 for number in range(count)], generator.config.z_dim)

    def _of_latents(self, generator: Generator | Eg3dGenerator, z: Tensor) -> Tensor:
        labels = one_hot(self.label, generator)
        styles = [
            generator.styles(one, labels, psi=self.truncation, cutoff=self.cutoff)
            for one in z.to(generator.mapping.w_avg).split(1)
        ]
        return torch.cat(styles)

    def _way_through(self, ws: Tensor) -> Tensor:
        if self.way == "z" or len(ws) < 2:
            raise ValueError(
                f"Interpolation in {self.way} between {len(ws)} given latents was asked for, but given latents are "
                "interpolated linearly in w: choose that and give at least two, or turn interpolation off."
            )
        return walk(ws, self.count, torch.lerp, loop=self.loop)

    def _mixed(self, generator: Generator | Eg3dGenerator, ws: Tensor, first: int) -> Tensor:
        if not 0 < first < ws.shape[1]:
            raise ValueError(
                f"Styles from number {first} up were to be mixed, but the generator reads {ws.shape[1]}, counted "
                f"from 0: give 1 to {ws.shape[1] - 1}, or no mixing."
            )
        fine = self._of_latents(generator, latents([self.mix_seed], generator.config.z_dim))
        return mix(ws, fine.expand(len(ws), -1, -1), first)


def check_flat(file: GeneratorFile) -> GeneratorConfig:
    """Return the config of a StyleGAN2.

    Raises GeneratorFileError for a generator of volumes, whose pictures need a camera and whose blocks are others.
    """
    config = file.card.config if file.card.architecture == GeneratorConfig.architecture else None
    if not isinstance(config, GeneratorConfig):
        raise GeneratorFileError(
            f"The generator is of the kind {file.card.architecture}, and only those of the kind "
            f"{GeneratorConfig.architecture} can be used here: give a "
            "StyleGAN2 generator."
        )
    return config


def one_hot(label: int | None, generator: Generator | Eg3dGenerator) -> Tensor | None:
    """[1, c_dim]. Raises ValueError for a class that the generator does not know; one that reads cameras knows none."""
    classes = 0 if isinstance(generator, Eg3dGenerator) else generator.config.c_dim
    if label is None:
        return None
    if not 0 <= label < classes:
        known = f"classes 0 to {classes - 1}: give one of them" if classes else "no classes: leave the label out"
        raise ValueError(f"Label {label} was given, but the generator has {known}.")
    return F.one_hot(torch.tensor([label]), classes).to(generator.mapping.w_avg)


def check_styles(ws: Tensor, generator: Generator | Eg3dGenerator) -> None:
    """Raise ValueError unless these are styles [N, L, w_dim] of this generator."""
    config = generator.config
    if ws.shape[1:] != (config.style_count, config.w_dim):
        raise ValueError(
            f"The latent has {ws.shape[1]} styles of {ws.shape[2]} numbers, but the generator reads "
            f"{config.style_count} of {config.w_dim}: give a latent of this generator, or of one adapted from it or to "
            "it."
        )
