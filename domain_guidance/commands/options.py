"""The options of the commands, and how they resolve."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch

from ..domains.training_forms import ADAPTER, LEARNING_RATES, TRAINING_FORMS
from ..runs.process import Precision
from ..training import RunSettings
from .presets import PRESETS


def add_train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", required=True, help="diffusers folder of the base model")
    parser.add_argument("--images", type=Path, required=True, help="folder of images, searched with its sub-folders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result; the run's state lies beside it")
    parser.add_argument("--name", default="domain", help="of the result, without .safetensors")
    parser.add_argument(
        "--on-existing", choices=("resume", "new version"), default="resume", help="what to do with a run of that name"
    )
    parser.add_argument(
        "--cache", type=Path, help="folder of the latent cache, which runs share (default: latents, in --out)"
    )
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), help="set the options below as a paper does; what is given wins"
    )
    parser.add_argument(
        "--steps", type=int, required=True, help="optimiser steps in all; more of them extend a finished run"
    )
    _add_method(parser.add_argument_group("method"))
    _add_looking(parser.add_argument_group("looking"))
    parser.add_argument("--allow-download", action="store_true", help="let --base be the name of a repository")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved options as JSON and do nothing")


def _add_method(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--form", choices=TRAINING_FORMS, default=ADAPTER, help="what is trained (default: adapter)")
    group.add_argument("--rank", type=int, default=16, help="of the adapter's matrices")
    group.add_argument("--resolution", type=int, default=512, help="pixels: of a square's side, or of the shorter side")
    group.add_argument(
        "--buckets", choices=("aspect", "shorter-side"), default="aspect", help="how images of other shapes are sized"
    )
    group.add_argument("--batch-size", type=int, default=4, help="images a step, over all processes and micro-batches")
    group.add_argument(
        "--micro-batch", type=int, help="images at a time in one process (default: its whole share of the batch)"
    )
    group.add_argument("--learning-rate", type=float, help="default: 1e-4 for an adapter, 1e-5 for a full form")
    group.add_argument(
        "--schedule", choices=("constant", "cosine"), default="constant", help="of the learning rate after warm-up"
    )
    group.add_argument("--warmup", type=int, default=0, help="steps of linear warm-up")
    group.add_argument("--weight-decay", type=float, default=1e-2)
    group.add_argument("--max-gradient-norm", type=float, default=1.0)
    group.add_argument(
        "--precision",
        choices=get_args(Precision),
        help="of the arithmetic (default: bf16 on a GPU, fp16 on one without it, fp32 on a CPU)",
    )
    group.add_argument(
        "--eight-bit-adam", action=argparse.BooleanOptionalAction, default=False, help="needs bitsandbytes"
    )
    group.add_argument(
        "--gradient-checkpointing", action=argparse.BooleanOptionalAction, default=False, help="less memory, slower"
    )
    group.add_argument("--mirror", type=float, default=0.5, help="share of mirrored images, 0 to 1")
    group.add_argument("--min-snr", type=float, default=0.0, help="cap of the loss weight (5 in its paper), 0 for none")
    group.add_argument("--seed", type=int, default=0)


def _add_looking(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--evaluate-every", type=int, default=100, help="steps between measurements of the held-out loss, 0 for none"
    )
    group.add_argument("--sample-every", type=int, default=0, help="steps between preview pictures, 0 for none")
    group.add_argument("--checkpoint-every", type=int, default=200, help="steps between saves of the state")


def resolve_train(options: argparse.Namespace) -> None:
    """Fill in the options whose default depends on the form or the device."""
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
