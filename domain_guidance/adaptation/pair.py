"""A generator beside its trainable copy: what an adaptation draws, shows and writes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..generators import (
    Eg3dConfig,
    Eg3dGenerator,
    Generator,
    GeneratorConfig,
    GeneratorFile,
    build_generator,
    default_selection,
    empty_generator,
    latents,
    write_generator_file,
)
from ..runs import Share
from .inputs import INPUTS, Inputs


class AdaptedPair:
    """The frozen generator of a file, StyleGAN2 or EG3D, beside its adapted copy (arXiv 2212.04473).

    Both are fed the same styles by the one frozen mapping, and only what is trained appears twice. module: the adapted
    generator, whose trained parameters require a gradient. network: its synthesis, as a module that accelerate can
    spread over processes. notes: what the card says of the making, beside the run's own record. styles: those whose
    layers are trained, None for the default selection. Call it where autograd is (in ComfyUI within
    `torch.inference_mode(False)`).
    """

    def __init__(self, file: GeneratorFile, device: torch.device | str, styles: Sequence[int] | None = None):
        self.card, self.config, self.device = file.card, _repeatable(file.card.config), torch.device(device)
        self.notes: dict[str, Any] = {}
        # A tensor that was made in inference mode cannot be used with a gradient; a copy of it can.
        weights = {name: tensor.clone() if tensor.is_inference() else tensor for name, tensor in file.weights.items()}
        self.digest = _digest(weights)
        self.source = build_generator(GeneratorFile(replace(file.card, config=self.config), weights)).to(self.device)
        self._inputs: Inputs = INPUTS[self.config.architecture](self.source)
        self.select(styles)

    def select(self, styles: Sequence[int] | None) -> None:
        """Begin anew from the source, training the layers that these styles drive; None for the default selection."""
        last = self.config.style_count - 1
        if styles is not None and not all(0 <= style <= last for style in styles):
            raise ValueError(
                f"The styles {list(styles)} were asked for, but the generator has 0 to {last}: choose from these."
            )
        selected = {name for name in default_selection(self.config, styles) if _is_used(name, self.config)}
        if not selected:
            raise ValueError(
                f"The styles {list(styles or ())} drive no layer that is trained: choose from 1 to {last - 1}."
            )
        self.styles = None if styles is None else sorted(set(styles))
        tensors = {
            name: tensor.clone() if name in selected else tensor for name, tensor in self.source.state_dict().items()
        }
        self.module = empty_generator(self.config).eval()
        self.module.load_state_dict(tensors, assign=True)
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(name in selected)
        self.network = _Network(self.module)

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run must share."""
        return {"generator": self.digest, "trained styles": self.styles}

    def draw(
        self,
        count: int,
        generator: torch.Generator,
        truncation: float = 1.0,
        with_source: bool = False,
        *,
        share: Share = Share(),
        network: Callable[..., Tensor] | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Draw adapted pictures with their graph, and on request the source's of the same styles without one.

        Both are [count, 3, R, R], nominally in [-1, 1]; the source's are None unless `with_source`. Latents are drawn
        on the CPU for the batch of all shares, of which this share's part is taken. Noise maps are the file's (our
        choice). network: what a process made of `network`. dtype: of the feature maps.
        """
        ws, *views = self.draw_inputs(count, generator, truncation, share=share)
        adapted = (network or self.network)(ws, *views, dtype=dtype)
        if not with_source:
            return adapted, None
        with torch.no_grad():
            return adapted, self.source.synthesis(ws, *views, dtype=dtype)

    @torch.no_grad()
    def draw_inputs(
        self, count: int, generator: torch.Generator, truncation: float = 1.0, *, share: Share = Share()
    ) -> tuple[Tensor, ...]:
        """What the synthesis reads: styles [count, L, w_dim] of drawn latents, and of an EG3D drawn cameras."""
        z = share.of(torch.randn(share.count * count, self.config.z_dim, generator=generator)).to(self.device)
        labels = self._inputs.labels(count, generator, share)
        return self.source.styles(z, labels, psi=truncation), *self._inputs.views(count, generator, share)

    @torch.no_grad()
    def compare(self, seeds: Sequence[int], psi: float = 0.7) -> Tensor:
        """Draw source and adapted pictures of the seeds, [2, N, 3, R, R] on the CPU, nominally in [-1, 1].

        Seeds are those of `generators.latents`.
        """
        rows: tuple[list[Tensor], list[Tensor]] = ([], [])
        for seed in seeds:
            ws = self.source.styles(
                latents([seed], self.config.z_dim).to(self.device), self._inputs.shown_label(seed), psi=psi
            )
            for row, generator in zip(rows, (self.source, self.module)):
                row.append(generator.synthesis(ws)[0].cpu())
        return torch.stack([torch.stack(row) for row in rows])

    def file(self, record: Mapping[str, Any]) -> GeneratorFile:
        """The adapted generator as a file's content, on the CPU.

        record: of the training, plain JSON values; that of the source is kept within it.
        """
        weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.module.state_dict().items()}
        before = {"source_training": self.card.training} if self.card.training else {}
        return GeneratorFile(replace(self.card, training={**record, **self.notes, **before}), weights)

    def write(self, path: str | os.PathLike, record: Mapping[str, Any]) -> None:
        """Write the adapted generator, atomically. Raises OSError if the disk does not take it."""
        file = self.file(record)
        write_generator_file(path, file.weights, file.card)


class _Network(nn.Module):
    """The synthesis as a module's call.

    It keeps its own precision, feature maps in `dtype` and all else in float32, whatever autocast says.
    """

    def __init__(self, generator: Generator | Eg3dGenerator):
        super().__init__()
        self.generator = generator

    def forward(self, ws: Tensor, *views: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        with torch.autocast(ws.device.type, enabled=False):
            return self.generator.synthesis(ws, *views, dtype=dtype)


def _repeatable(config: GeneratorConfig | Eg3dConfig) -> GeneratorConfig | Eg3dConfig:
    """Of a generator whose pictures depend on their inputs alone: noise maps are the file's where it would draw
    some.
    """
    random = isinstance(config, Eg3dConfig) and config.superresolution_noise == "random"
    return replace(config, superresolution_noise="const") if random else config


def _is_used(name: str, config: GeneratorConfig | Eg3dConfig) -> bool:
    """Whether a tensor has a part in the picture: a noise strength has none where no noise is added."""
    silent = isinstance(config, Eg3dConfig) and config.superresolution_noise == "none"
    return not (silent and name.startswith("superresolution.") and name.endswith(".noise_strength"))


def _digest(weights: Mapping[str, Tensor]) -> str:
    """A hash of every number, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]
