"""The domains, ink and glossy: each a side network beside the base, from pictures of one hand and no word.

The pictures show half of the things that the base draws by name, and other drawings of the hand; nothing of the other
half.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from .. import runs
from ..diffusion.noise_schedule import scaled_linear
from ..domains.card import DomainCard
from ..domains.fingerprint import fingerprint
from ..domains.prompt import Prompt
from ..files.atomic_file import save_tensors
from ..guidance import SigmaInterval
from ..runs import Settings
from ..side_networks import (
    BareBase,
    LatentSpace,
    SideNetwork,
    SideTrainable,
    make_network,
    shape_for,
    write_side_file,
)
from ..training import Batch, noise_objective
from . import checkpoints
from .drawing import Guidance, Lead
from .drawings import read_drawings, read_others
from .model import CHANNELS, LATENT_SIZE, PREDICTION, predict
from .prompts import encode_prompt
from .scenes import lay
from .things import GROUNDS, ON_WHITE, shown, told_apart

SETTINGS = Settings(steps=4000, learning_rate=2e-3, warmup=100, cosine=True, seed=6, checkpoint_every=250)
BATCH = 32
BASE_NAME = "emoji world base"  # on the cards of domains
VARIANTS = 4  # placements of each drawing
IMAGE_SEED = 4646
CFG, WEIGHT = 2.0, 3.0  # of both; chosen by eye among those that draw the things
# The noise levels at which they guide. Glossy adds light and shading in the last steps; in the first ones it makes
# shapes dull, though the judge then finds them nearer to the domain. 1.16 is the host's `start_percent` 0.6.
INTERVALS: Mapping[str, SigmaInterval] = {"ink": SigmaInterval(), "glossy": SigmaInterval(start=1.16)}


def into(hand: str, network: SideNetwork) -> Guidance:
    """The guidance with which the pack's pictures are drawn in a domain."""
    return Guidance(CFG, Lead(network, WEIGHT, INTERVALS[hand]))


def make_domain(hand: str, folder: Path, settings: Settings = SETTINGS, out: Path | None = None) -> None:
    """One hand's domain, written to `out` or beside the base; no gradient passes the base."""
    out = out or folder / checkpoints.domain_file(hand)
    unet, table = checkpoints.load_base(folder)
    base = BareBase(unet, partial(predict, unet), scaled_linear(), PREDICTION)
    network = make_network(shape_for(CHANNELS, LATENT_SIZE, LATENT_SIZE), settings.seed)
    trained = SideTrainable(base, network, {}, partial(_write, folder, table, hand))
    latents, empty = domain_latents(hand, folder), encode_prompt(table)

    def data(generator: torch.Generator) -> Batch:
        chosen = torch.randint(len(latents), (BATCH,), generator=generator)
        return Batch(latents[chosen], empty.expand(BATCH, -1, -1))

    objective = noise_objective(trained.predict, data, trained.schedule, PREDICTION, trained.loss_weight)
    runs.train_to_the_end(network, objective, settings, out.with_suffix(".state"))
    record = {**asdict(settings), "batch": BATCH, "pictures": f"emoji in {hand}, without the held-out things"}
    trained.write(out, record)


def domain_drawings(file: Path, hand: str) -> Tensor:
    """What a domain is shown of a hand [N, 4, 128, 128]: half of the things, and others unlike the other half."""
    names, others = read_others(file)
    apart = [place for place, name in enumerate(names) if told_apart(name)]
    return torch.cat([read_drawings(file)[hand][shown()], others[hand][apart]])


def paint_domain(drawings: Tensor, hand: str, generator: torch.Generator) -> Tensor:
    """Pictures [N, 3, 64, 64] of drawings [D, 4, 128, 128], on white for ink and on every ground for other hands.

    Each comes VARIANTS times, and as often as a mirror shows it.
    """
    which = torch.arange(len(drawings)).repeat(VARIANTS)
    grounds = torch.randint(len(GROUNDS), (len(which),), generator=generator)
    if hand == ON_WHITE:
        grounds = torch.full_like(grounds, list(GROUNDS).index("white"))
    laid = torch.cat([lay(drawings[some], on, generator) for some, on in zip(which.split(64), grounds.split(64))])
    return torch.cat([laid, laid.flip(3)])


@torch.no_grad()
def domain_latents(hand: str, folder: Path) -> Tensor:
    """The hand's pictures as latents, made once and kept beside the checkpoints."""
    file = folder / f"{hand}.pictures.state"
    if not file.exists():
        code = checkpoints.load_code(folder)
        drawn = domain_drawings(folder / checkpoints.DRAWINGS, hand)
        pictures = paint_domain(drawn, hand, torch.Generator().manual_seed(IMAGE_SEED))
        encoded = code.encode(pictures)
        save_tensors(file, {"latents": encoded.contiguous()}, {})
    return load_file(file)["latents"]


def _write(
    folder: Path, table: Tensor, hand: str, path: str | os.PathLike, network: SideNetwork, record: Mapping[str, Any]
) -> None:
    base, _ = checkpoints.read_base(folder)
    card = DomainCard(
        form="side-network",
        prediction=PREDICTION,
        base_fingerprint=fingerprint(base),
        base_name=BASE_NAME,
        recommended_weight=WEIGHT,
        recommended_cfg=CFG,
        training=dict(record),
    )
    write_side_file(path, network, card=card, latents=LatentSpace(CHANNELS), empty=Prompt(encode_prompt(table)))
