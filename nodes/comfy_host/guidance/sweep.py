"""The same noise under a grid of domain weights and cfgs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import comfy.model_management
import comfy.utils
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from PIL import Image
from torch import Tensor

from ....domain_guidance.pictures.axes_grid import axes_grid, mosaic
from ..node_text import tell_here
from ..sampling import Sampling, as_pictures, decoded, watched
from .terms import JUDGED, KEY, terms_of

LAST, ALL = "last", "all, in proportion"
MOST_CELLS = 256


@dataclass(frozen=True)
class Sweep:
    """The cells of a sweep that were made.

    grid: the labelled picture. pictures: of the cells made, [N, H, W, 3] in 0..1, row by row. settings: one line for
    each of them. is_whole: whether no Cancel left cells out.
    """

    grid: Image.Image
    pictures: Tensor
    settings: str
    is_whole: bool


def sweep(
    model: ModelPatcher, vae: VAE, sampling: Sampling, weights: Sequence[float], cfgs: Sequence[float], vary: str = LAST
) -> Sweep:
    """Samples a cell for each cfg (rows) and weight (columns). A Cancel ends it with the cells made so far.

    Raises ValueError, one sentence; a Cancel before the first cell is done is passed on.
    """
    if not terms_of(model):
        raise ValueError(
            "The model connected to Domain Guidance Sweep has no domain guidance: connect Apply Domain Guidance, "
            "with a weight other than 0, between the checkpoint and this node."
        )
    if len(weights) * len(cfgs) > MOST_CELLS:
        raise ValueError(
            f"{len(weights)} weights and {len(cfgs)} cfgs make {len(weights) * len(cfgs)} cells: use shorter lists "
            f"that make at most {MOST_CELLS}."
        )
    places = [(cfg, weight) for cfg in cfgs for weight in weights]
    latents = _sampled(model, sampling, places, vary)
    cells = [decoded(vae, latent).cpu() for latent in latents]
    made = [mosaic(as_pictures(cell)) for cell in cells] + [None] * (len(places) - len(cells))
    rows = [made[start : start + len(weights)] for start in range(0, len(places), len(weights))]
    across = "domain weight" if vary == LAST else "factor on every weight"
    grid = axes_grid(rows, [f"{weight:g}" for weight in weights], [f"{cfg:g}" for cfg in cfgs], across, "cfg")
    settings = "\n".join(
        f"{number}: {across} {weight:g}, cfg {cfg:g}" for number, (cfg, weight) in enumerate(places[: len(cells)], 1)
    )
    return Sweep(grid, torch.cat(cells), settings, len(cells) == len(places))


def weighted(model: ModelPatcher, value: float, vary: str) -> ModelPatcher:
    """A clone with another weight on its last term, or with every weight times `value`."""
    *others, last = terms_of(model)
    terms = (
        [replace(term, weight=value * term.weight) for term in (*others, last)]
        if vary == ALL
        else [*others, replace(last, weight=value)]
    )
    clone = model.clone()
    clone.set_attachments(KEY, tuple(terms))
    clone.set_attachments(JUDGED, True)
    return clone


def _sampled(model: ModelPatcher, sampling: Sampling, places: Sequence[tuple[float, float]], vary: str) -> list[dict]:
    """The LATENTs of all cells, or of those before a Cancel."""
    progress = SweepProgress(model, len(places), sampling.steps)
    latents: list[dict] = []
    try:
        for cfg, weight in places:
            latents.append(sampling(watched(weighted(model, weight, vary), progress.stepped, instead=True), cfg))
            progress.next_cell()
    except comfy.model_management.InterruptProcessingException:
        if not latents:
            raise
        tell_here("The sweep was cancelled, so the grid has %d of %d cells.", len(latents), len(places))
    return latents


class SweepProgress:
    """One bar over all cells, with the host's preview of the cell in work."""

    def __init__(self, model: ModelPatcher, cells: int, steps: int):
        self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self._bar = comfy.utils.ProgressBar(cells * steps)
        self._steps, self._cell = steps, 0

    def next_cell(self) -> None:
        self._cell += 1
        self._bar.update_absolute(self._cell * self._steps)

    def stepped(self, number: int, x0: Tensor, total: int) -> None:
        preview = None if self._previewer is None else self._previewer.decode_latent_to_preview_image("JPEG", x0)
        self._bar.update_absolute(self._cell * self._steps + (number + 1) * self._steps // total, preview=preview)
