"""The domains in every form of training, for comparisons: the pack holds them as side networks alone.

All forms see the same pictures and no word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import runs
from ..data import Size
from ..diffusers_host.trainable import DiffusersTrainable, add_adapter, base_fingerprint
from ..diffusion.noise_schedule import scaled_linear
from ..domains.prompt import Prompt
from ..domains.training_forms import ADAPTER, EMPTY_PROMPT, SIDE_NETWORK, TEXT_FREE, TrainingForm
from ..runs import Settings
from ..training import Batch, min_snr, noise_objective
from ..training.text_removal import take_text_out
from . import checkpoints
from .domains import BASE_NAME, BATCH, SETTINGS, domain_latents, make_domain
from .model import IMAGE_SIZE, PREDICTION, half_precision
from .prompts import encode_prompt
from .stages import SNR_CAP

RANK = 16
WHOLE = Settings(steps=600, learning_rate=1e-3, warmup=20, cosine=True, checkpoint_every=100)
FORMS: Mapping[TrainingForm, Settings] = {
    EMPTY_PROMPT: WHOLE,
    TEXT_FREE: WHOLE,
    ADAPTER: replace(WHOLE, learning_rate=1e-2),
    SIDE_NETWORK: SETTINGS,
}
CONSTANT_PICTURES = 64


def train_form(form: TrainingForm, hand: str, folder: Path, out: Path, settings: Settings) -> None:
    """Train a domain in any form and write its file; the same call resumes.

    folder: of the base. out: the file to write, beside which the state lies while it is trained.
    """
    if form == SIDE_NETWORK:
        make_domain(hand, folder, settings, out)
        return
    trained = _trainable(form, folder, settings.seed)
    latents = domain_latents(hand, folder)
    if form == TEXT_FREE:
        some = latents[torch.randperm(len(latents), generator=torch.Generator().manual_seed(0))[:CONSTANT_PICTURES]]
        with take_text_out(trained, [(some, Size(IMAGE_SIZE, IMAGE_SIZE))]):
            _train(trained, latents, settings, out)
    else:
        _train(trained, latents, settings, out)


def _trainable(form: TrainingForm, folder: Path, seed: int) -> DiffusersTrainable:
    unet, table = checkpoints.load_base(folder)
    trained = DiffusersTrainable(
        module=unet,
        schedule=scaled_linear(),
        prediction=PREDICTION,
        empty=Prompt(encode_prompt(table)),
        form=form,
        base_fingerprint=base_fingerprint(unet),
        base_name=BASE_NAME,
        rank=RANK if form == ADAPTER else 0,
    )
    if form == ADAPTER:
        add_adapter(unet, RANK, seed)
    else:
        unet.requires_grad_(True)
    return trained


def _train(trained: DiffusersTrainable, latents: Tensor, settings: Settings, out: Path) -> None:
    conditioning = trained.conditioning(BATCH, Size(IMAGE_SIZE, IMAGE_SIZE))

    def data(generator: torch.Generator) -> Batch:
        return Batch(latents[torch.randint(len(latents), (BATCH,), generator=generator)], conditioning)

    predict = partial(_in_half_precision, trained.predict)
    objective = noise_objective(predict, data, trained.schedule, PREDICTION, min_snr(SNR_CAP, PREDICTION))
    runs.train_to_the_end(trained.module, objective, settings, out.with_suffix(".state"))
    trained.write(out, {**asdict(settings), "batch": BATCH})


def _in_half_precision(
    predict: Callable[[Tensor, Tensor, Any], Tensor], noisy: Tensor, timestep: Tensor, conditioning: Any
) -> Tensor:
    with half_precision():
        return predict(noisy, timestep, conditioning).float()
