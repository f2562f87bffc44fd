"""The stages of making the toy's weights, all through the one training loop.

They are base, judge, domain, fine-tune, generator, side network and student. Every stage reads what earlier ones
wrote to the folder, goes on from its own last checkpoint there, and ends with one file.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import runs, training
from ..diffusers_host.denoiser import DiffusersDenoiser
from ..diffusion.noise_schedule import scaled_linear
from ..diffusion.parameterization import add_noise, network_input
from ..domains.card import Form
from ..domains.domain_file import DomainCard, write_domain_file
from ..domains.fingerprint import fingerprint
from ..domains.prompt import Prompt
from ..domains.text_free import (
    cross_attention_skipped,
    cross_attentions,
    freeze_text_path,
    make_text_free,
    measure_constants,
)
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
from ..training import Batch
from . import checkpoints
from .digits import load_digits
from .features import FeatureNet, judge_objective
from .gan import Game, adam, game_objective, set_mean_style
from .model import CHANNELS, IMAGE_SIZE, build_unet, predict
from .prompts import Prompts, encode, encode_prompt, forget_slots, make_table
from .scenes import paint_domain, paint_open_world
from .student import student_objective

logger = logging.getLogger(__name__)

BATCH = 32
FORGET_WHOLE = 0.12
FORGET_SLOTS = (0.08, 0.10, 0.40)  # digit, stroke, ground: most prompts of the demo leave the ground open
BASE = Settings(steps=6000, learning_rate=1e-3, warmup=100, cosine=True, seed=1, checkpoint_every=200)
ADAPT = Settings(steps=3000, learning_rate=3e-4, warmup=20, seed=2, checkpoint_every=250)
JUDGE = Settings(steps=3000, learning_rate=2e-3, warmup=50, cosine=True, seed=4, checkpoint_every=500)
SIDE = Settings(steps=3000, learning_rate=2e-3, warmup=50, cosine=True, seed=6, checkpoint_every=250)
GAN = Settings(steps=16000, learning_rate=2.5e-3, max_gradient_norm=math.inf, cosine=True, seed=5, checkpoint_every=250)
STUDENT = Settings(steps=1200, learning_rate=3e-4, warmup=50, cosine=True, seed=7, checkpoint_every=100)
RECOMMENDED_WEIGHT, RECOMMENDED_CFG = 1.5, 4.0  # what `sweep` chose
CONSTANT_TIMESTEPS = range(50, 1000, 100)


def make_base(folder: Path, settings: Settings = BASE) -> None:
    """The text-conditional base: open-world scenes, and prompts of which parts are forgotten."""
    table = make_table()
    torch.manual_seed(settings.seed)
    unet = build_unet()
    objective = _noise_objective(unet, _open_world_data(table), form_weight)
    runs.train_to_the_end(unet, objective, settings, folder / "base.state")
    checkpoints.write_base(unet, table, folder)


def make_judge(folder: Path, settings: Settings = JUDGE) -> None:
    """The feature net, on pictures of both worlds; it sees only handwriting that is not held out."""
    digits = load_digits("base").joined(load_digits("domain"))
    sources = (partial(paint_open_world, digits, 64), partial(paint_domain, digits, 32))
    torch.manual_seed(settings.seed)
    judge = FeatureNet()
    runs.train_to_the_end(judge, judge_objective(judge, sources), settings, folder / "features.state")
    generator = runs.step_generator(settings.steps, settings.seed)
    judge.calibrate(torch.cat([paint(digits, 1000, generator).images for paint in (paint_open_world, paint_domain)]))
    checkpoints.write_judge(judge, folder)


def make_domain(folder: Path, settings: Settings = ADAPT) -> None:
    """The text-free domain UNet: the base with constants for cross-attention, trained on domain pictures alone."""
    unet, table = checkpoints.load_base(folder)
    empty = encode_prompt(table)
    estimates = measure_constants(partial(predict, unet), cross_attentions(unet), _constant_batches(empty))
    residuals = {name: round(estimate.residual, 4) for name, estimate in estimates.items()}
    logger.info("cross-attention replaced by constants; relative residuals %s", residuals)
    constants = {name: estimate.constant for name, estimate in estimates.items()}
    unet.load_state_dict(make_text_free(unet.state_dict(), constants))
    unet.requires_grad_(True)
    freeze_text_path(unet)
    with cross_attention_skipped(unet):
        runs.train_to_the_end(unet, _noise_objective(unet, _domain_data(empty)), settings, folder / "domain.state")
    _write_domain(unet, "text-free", folder, settings, {"residuals": residuals})


def make_fine_tune(folder: Path, settings: Settings = ADAPT) -> None:
    """Fine-tune all of the base, text and all, on the same pictures with the empty prompt.

    It is what most people do instead.
    """
    unet, table = checkpoints.load_base(folder)
    unet.requires_grad_(True)
    runs.train_to_the_end(
        unet, _noise_objective(unet, _domain_data(encode_prompt(table))), settings, folder / "fine_tune.state"
    )
    _write_domain(unet, "text-based", folder, settings, {})


def make_generator(folder: Path, settings: Settings = GAN) -> None:
    """The StyleGAN2 of open-world scenes, that adaptation starts from; it sees the base's handwriting and no label."""
    digits = load_digits("base")
    torch.manual_seed(settings.seed)
    game = Game()
    objective = game_objective(game, lambda generator: paint_open_world(digits, BATCH, generator).images)
    runs.train_to_the_end(game, objective, settings, folder / "generator.state", adam)
    set_mean_style(game.generator)
    record = {
        **asdict(settings),
        "max_gradient_norm": None,
        "batch": BATCH,
        "pictures": "handwritten digits on coloured grounds",
    }
    checkpoints.write_generator(game.generator, record, folder)


def make_side_network(folder: Path, settings: Settings = SIDE) -> None:
    """The domain once more, as a small network beside the frozen base; it sees what `make_domain` sees."""
    unet, table = checkpoints.load_base(folder)
    network = make_network(shape_for(CHANNELS, IMAGE_SIZE, IMAGE_SIZE), settings.seed)
    base = BareBase(unet, partial(predict, unet), scaled_linear(), "epsilon")
    trained = SideTrainable(base, network, {}, partial(_write_side_network, folder, table))
    objective = training.noise_objective(
        trained.predict, _domain_data(encode_prompt(table)), trained.schedule, weight=trained.loss_weight
    )
    runs.train_to_the_end(network, objective, settings, folder / "side_network.state")
    record = {**asdict(settings), "batch": BATCH, "pictures": "handwritten digits on a white plate"}
    trained.write(folder / checkpoints.SIDE_NETWORK, record)


def make_student(folder: Path, settings: Settings = STUDENT) -> None:
    """The base once more, for 8 steps at cfg 1; it learns from the base alone."""
    teacher, table = checkpoints.load_base(folder)
    student, schedule = checkpoints.load_base(folder)[0].requires_grad_(True), scaled_linear()
    objective = student_objective(
        DiffusersDenoiser(teacher, schedule),
        DiffusersDenoiser(student, schedule),
        _open_world_data(table),
        encode_prompt(table),
        schedule,
        form_weight,
    )
    runs.train_to_the_end(student, objective, settings, folder / "student.state")
    checkpoints.write_base(student, table, folder, checkpoints.STUDENT)


STAGES = {
    checkpoints.BASE: make_base,
    checkpoints.FEATURES: make_judge,
    checkpoints.DOMAIN: make_domain,
    checkpoints.FINE_TUNE: make_fine_tune,
    checkpoints.GENERATOR: make_generator,
    checkpoints.SIDE_NETWORK: make_side_network,
    checkpoints.STUDENT: make_student,
}


def form_weight(sigma: Tensor) -> Tensor:
    """The base's loss weight, min(1 + sigma^2, 10), for noise levels [B] (our choice).

    Up to the cap it is the velocity's loss. The plain noise loss is mostly about fine grain at low noise, and a net of
    this size had learned no digit after 1,000 steps of it: digits are decided between sigma 1 and 6.
    """
    return (1 + sigma.square()).clamp(max=10)


def _open_world_data(table: Tensor):
    digits = load_digits("base")

    def data(generator: torch.Generator) -> Batch:
        scenes = paint_open_world(digits, BATCH, generator)
        asked = Prompts(scenes.digit, scenes.stroke, scenes.ground)
        return Batch(scenes.images, encode(forget_slots(asked, FORGET_WHOLE, FORGET_SLOTS, generator), table))

    return data


def _noise_objective(unet: nn.Module, data, weight=None) -> runs.Objective:
    return training.noise_objective(partial(predict, unet), data, scaled_linear(), weight=weight)


def _domain_data(empty: Tensor):
    digits = load_digits("domain")

    def data(generator: torch.Generator) -> Batch:
        return Batch(paint_domain(digits, BATCH, generator).images, empty.expand(BATCH, -1, -1))

    return data


def _constant_batches(empty: Tensor):
    """Domain pictures at ten noise levels, with the empty prompt, as arguments of the UNet."""
    schedule, data = scaled_linear(), _domain_data(empty)
    for level in CONSTANT_TIMESTEPS:
        generator = runs.step_generator(level, seed=3)
        batch, timestep = data(generator), torch.full((BATCH,), level)
        noise = torch.randn(batch.clean.shape, generator=generator)
        sigma = schedule.sigma(timestep)
        noisy = network_input(add_noise(batch.clean, noise, sigma, "epsilon"), sigma, "epsilon")
        yield noisy, timestep, batch.conditioning


def _write_domain(unet: nn.Module, form: Form, folder: Path, settings: Settings, record: dict) -> None:
    base, table = checkpoints.read_base(folder)
    card = DomainCard(
        form=form,
        prediction="epsilon",
        base_fingerprint=fingerprint(base),
        base_name="toy world base",
        recommended_weight=RECOMMENDED_WEIGHT,
        recommended_cfg=RECOMMENDED_CFG,
        training={**asdict(settings), "batch": BATCH, "pictures": "handwritten digits on a white plate", **record},
    )
    name = checkpoints.DOMAIN if form == "text-free" else checkpoints.FINE_TUNE
    write_domain_file(folder / name, checkpoints.stored_state(unet), card=card, cross_attn=encode_prompt(table))


def _write_side_network(
    folder: Path, table: Tensor, path: str | os.PathLike, network: SideNetwork, record: Mapping[str, Any]
) -> None:
    base, _ = checkpoints.read_base(folder)
    card = DomainCard(
        form="side-network",
        prediction="epsilon",
        base_fingerprint=fingerprint(base),
        base_name="toy world base",
        recommended_weight=RECOMMENDED_WEIGHT,
        recommended_cfg=RECOMMENDED_CFG,
        training=dict(record),
    )
    write_side_file(path, network, card=card, latents=LatentSpace(CHANNELS), empty=Prompt(encode_prompt(table)))
