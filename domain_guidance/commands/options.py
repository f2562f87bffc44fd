"""The options of the commands, and how they resolve."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch

from ..diffusion.time_sampling import TIME_SAMPLINGS
from ..domains.training_forms import ADAPTER, LEARNING_RATES, TRAINING_FORMS
from ..runs.process import Precision
from ..training import RunSettings
from .presets import PRESETS

RANK = 16


def add_train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", required=True, help="folder of the base model, in the format of diffusers")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of training images; its subfolders are searched as well"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the result and the state of the run")
    parser.add_argument(
        "--name", default="domain", help="file name of the result, without .safetensors (default: %(default)s)"
    )
    parser.add_argument(
        "--on-existing",
        choices=("resume", "new version"),
        default="resume",
        help="what to do if there is a run of that name already (default: %(default)s)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        help="folder of the latent cache, which runs may share (default: the folder latents in --out)",
    )
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="settings of a paper for the options below; options that you give take precedence",
    )
    parser.add_argument(
        "--steps",
        type=int,
        required=True,
        help="total number of optimiser steps; a higher number extends a finished run",
    )
    _add_method(parser.add_argument_group("method"))
    _add_watching(parser.add_argument_group("watching the run"))
    parser.add_argument(
        "--allow-download",
        action="store_true",
        help="let --base name a repository on the Hugging Face Hub, which is then downloaded",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the options as they resolve, as JSON, and stop")


def _add_method(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--form", choices=TRAINING_FORMS, default=ADAPTER, help="what is trained (default: %(default)s)")
    group.add_argument("--rank", type=int, help=f"rank of the adapter (default: {RANK})")
    group.add_argument(
        "--resolution",
        type=int,
        default=512,
        help="pixels along one side of a square, or along the shorter side (default: %(default)s)",
    )
    group.add_argument(
        "--buckets",
        choices=("aspect", "shorter-side"),
        default="aspect",
        help="how images that are not square are resized (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size",
        type=int,
        default=4,
        help="images per step, over all processes and micro-batches (default: %(default)s)",
    )
    group.add_argument(
        "--micro-batch",
        type=int,
        help="images that one process computes at a time (default: its whole share of the batch)",
    )
    group.add_argument(
        "--learning-rate",
        type=float,
        help="step size of the optimiser (default: 1e-4 for an adapter, 1e-3 for a side network, 1e-5 for a "
        "whole network)",
    )
    group.add_argument(
        "--schedule",
        choices=("constant", "cosine"),
        default="constant",
        help="learning rate after the warm-up (default: %(default)s)",
    )
    group.add_argument(
        "--warmup",
        type=int,
        default=0,
        help="steps over which the learning rate rises to its full value (default: %(default)s)",
    )
    group.add_argument("--weight-decay", type=float, default=1e-2, help="of AdamW (default: %(default)s)")
    group.add_argument(
        "--max-gradient-norm",
        type=float,
        default=1.0,
        help="longer gradients are scaled down to this norm (default: %(default)s)",
    )
    group.add_argument(
        "--precision",
        choices=get_args(Precision),
        help="precision of the arithmetic (default: bf16 on a GPU, fp16 on one without bf16, fp32 on a CPU)",
    )
    group.add_argument(
        "--eight-bit-adam",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="AdamW with 8-bit moments, which needs the package bitsandbytes",
    )
    group.add_argument(
        "--gradient-checkpointing",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="save memory at the cost of speed",
    )
    group.add_argument(
        "--mirror", type=float, default=0.5, help="probability that an image is mirrored, 0 to 1 (default: %(default)s)"
    )
    group.add_argument(
        "--min-snr",
        type=float,
        default=0.0,
        help="gamma of min-SNR loss weighting, 5 in its paper, 0 to turn it off (default: %(default)s)",
    )
    group.add_argument(
        "--time-sampling",
        choices=("auto", *TIME_SAMPLINGS),
        default="auto",
        help="which noise levels are trained how often; auto: logit-normal for flow models, uniform for the others and "
        "for a side network (default: %(default)s)",
    )
    group.add_argument("--seed", type=int, default=0, help="seed of the whole run (default: %(default)s)")


def _add_watching(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--evaluate-every",
        type=int,
        default=100,
        help="steps between measurements of the held-out loss, 0 for never (default: %(default)s)",
    )
    group.add_argument(
        "--sample-every", type=int, default=0, help="steps between preview pictures, 0 for never (default: %(default)s)"
    )
    group.add_argument(
        "--checkpoint-every", type=int, default=200, help="steps between saves of the state (default: %(default)s)"
    )


def resolve_train(options: argparse.Namespace) -> None:
    """Fill in the options whose default depends on the form or the device."""
    if options.rank is None and options.form == ADAPTER:
        options.rank = RANK
    if options.learning_rate is None:
        options.learning_rate = LEARNING_RATES[options.form]
    if options.precision is None:
        options.precision = _fastest_precision()


def _fastest_precision() -> Precision:
    if not torch.cuda.is_available():
        return "fp32"
    return (
        "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    )  # older cards imitate bf16, slowly


def run_settings(options: argparse.Namespace, world: int) -> RunSettings:
    """The settings of one of `world` processes. Raises ValueError if the batch cannot be divided."""
    batch = divided_batch(options, world)
    return RunSettings(
        steps=options.steps,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        max_gradient_norm=options.max_gradient_norm,
        warmup=options.warmup,
        cosine=options.schedule == "cosine",
        seed=options.seed,
        sample_every=options.sample_every,
        checkpoint_every=options.checkpoint_every,
        batch_size=batch.at_once,
        accumulation=batch.accumulation,
        precision=options.precision,
        mirror=options.mirror,
        eight_bit_adam=options.eight_bit_adam,
        min_snr=options.min_snr,
        time_sampling=options.time_sampling,
        evaluate_every=options.evaluate_every,
    )


class DividedBatch(NamedTuple):
    """How one process works through a step: `at_once` pictures at a time, `accumulation` times."""

    at_once: int
    accumulation: int


def divided_batch(options: argparse.Namespace, world: int) -> DividedBatch:
    """The batch of a step divided over `world` processes and their micro-batches.

    Raises ValueError if the batch cannot be divided.
    """
    if options.micro_batch is not None and options.micro_batch < 1:
        raise ValueError(f"--micro-batch is {options.micro_batch}, expected at least 1, or leave it out.")
    at_once = options.micro_batch or options.batch_size // world
    if at_once < 1 or options.batch_size % (at_once * world):
        raise ValueError(
            f"A batch of {options.batch_size} images cannot be divided over {world} processes in micro-batches of "
            f"{at_once}: give a --batch-size that is a multiple of {max(1, at_once) * world}."
        )
    return DividedBatch(at_once, options.batch_size // (at_once * world))


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """The options as JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in sorted(vars(options).items())}
