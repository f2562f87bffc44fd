"""The options of the adapt command, and how they resolve."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import torch

from ..adaptation import AdaptationSettings
from ..distillation import Distillation, NoiseRange
from ..distillation.step import Score
from ..runs.process import Precision
from .options import divided_batch
from .presets import ADAPT_PRESETS


def add_adapt_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "generator",
        type=Path,
        metavar="GENERATOR",
        help="StyleGAN2 or EG3D to adapt: a generator file, or any file that convert reads",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="NAME.safetensors",
        help="file for the adapted generator; the state of the run is saved beside it",
    )
    parser.add_argument(
        "--on-existing",
        choices=("resume", "new version"),
        default="resume",
        help="what to do if there is a run of that name already (default: %(default)s)",
    )
    parser.add_argument(
        "--preset",
        choices=sorted(ADAPT_PRESETS),
        help="settings of a paper for the options below; options that you give take precedence",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=1000,
        help="total number of optimiser steps; a higher number extends a finished run (default: %(default)s)",
    )
    _add_critic(
        parser.add_argument_group(
            "critic", "the diffusion model that judges the pictures, by a prompt, a domain or both"
        )
    )
    _add_distillation(parser.add_argument_group("distillation"))
    _add_training(parser.add_argument_group("training"))
    parser.add_argument(
        "--sample-every",
        type=int,
        default=100,
        help="steps between previews, source above adapted pictures, 0 for never (default: %(default)s)",
    )
    parser.add_argument(
        "--checkpoint-every", type=int, default=200, help="steps between saves of the state (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-download",
        action="store_true",
        help="let --base name a repository on the Hugging Face Hub, which is then downloaded",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the options as they resolve, as JSON, and stop")


def _add_critic(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--base",
        required=True,
        help="folder of the diffusion model, in the format of diffusers; a DreamBooth result works too",
    )
    group.add_argument("--prompt", help="prompt that describes the result (default: the domain alone decides)")
    group.add_argument("--negative", default="", help="negative prompt (default: the empty prompt)")
    group.add_argument(
        "--cfg", type=float, default=100.0, help="scale of the text guidance (default: %(default)s, as in the paper)"
    )
    group.add_argument(
        "--domain", type=Path, help="domain file or adapter written by train, whose guidance is added to the critic"
    )
    group.add_argument("--domain-weight", type=float, help="weight of the domain guidance (default: 4)")
    group.add_argument(
        "--lora",
        type=Path,
        help="LoRA for the diffusion model, in any format that diffusers reads, or an adapter written by train",
    )
    group.add_argument("--lora-strength", type=float, default=1.0, help="strength of the LoRA (default: %(default)s)")


def _add_distillation(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--resolution",
        type=int,
        default=512,
        help="pixels along one side of what the critic sees (default: %(default)s)",
    )
    group.add_argument(
        "--range",
        type=float,
        nargs=2,
        default=(0.01, 0.5),
        metavar=("LOW", "HIGH"),
        help="range of noise that is scored, in fractions of the diffusion time (default: 0.01 0.5)",
    )
    group.add_argument(
        "--score",
        choices=get_args(Score),
        default="sds",
        help="likelihood does not subtract the noise and wants a --cfg near 7.5 (default: %(default)s)",
    )
    group.add_argument(
        "--unit-score", action="store_true", help="scale the critic's and the added noise to equal length first"
    )
    group.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="factor on every term of the distillation before it is clamped (default: 1; 0.01 for EG3D)",
    )
    group.add_argument(
        "--directional",
        type=float,
        help="weight of the change towards the prompt, seen from the source (default: 1 with a prompt)",
    )
    group.add_argument(
        "--unit-directional", action="store_true", help="normalise both predictions of the directional term first"
    )
    group.add_argument(
        "--reconstruction",
        type=float,
        help="weight of staying close to the source; the paper has 0.5 for cats (default: 1 for a domain alone)",
    )
    group.add_argument(
        "--relative-distance",
        type=float,
        default=0.0,
        help="weight of the term that keeps pictures apart; needs 3 or more pictures at a time (default: %(default)s)",
    )
    group.add_argument(
        "--perceptual",
        type=float,
        default=0.0,
        help="weight of LPIPS to the source's picture, which needs the package lpips (default: %(default)s)",
    )
    group.add_argument(
        "--percentile",
        type=float,
        default=0.95,
        help="percentile above which the score's pixel gradient is clipped, 1 for no clipping (default: %(default)s)",
    )
    group.add_argument(
        "--antialias",
        action="store_true",
        help="filter before downscaling where the critic sees fewer pixels than the generator draws",
    )


def _add_training(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--layers",
        type=int,
        default=0,
        help="number of styles whose layers are trained, chosen by the critic, 0 for all (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size",
        type=int,
        default=1,
        help="pictures per step, over all processes and micro-batches (default: %(default)s)",
    )
    group.add_argument(
        "--micro-batch",
        type=int,
        help="pictures that one process computes at a time (default: its whole share of the batch)",
    )
    group.add_argument(
        "--learning-rate", type=float, default=8e-4, help="step size of the optimiser (default: %(default)s)"
    )
    group.add_argument(
        "--truncation",
        type=float,
        default=1.0,
        help="truncation psi of the pictures that are trained on (default: %(default)s)",
    )
    group.add_argument(
        "--average", action="store_true", help="write the moving average of the weights and not the last ones"
    )
    group.add_argument(
        "--precision",
        choices=get_args(Precision),
        help="precision of the UNet and the generator (default: fp16 on a GPU, fp32 on a CPU)",
    )
    group.add_argument("--seed", type=int, default=0, help="seed of the whole run (default: %(default)s)")


def resolve_adapt(options: argparse.Namespace) -> None:
    """Fill in the options whose default depends on whether there is a prompt, or on the device."""
    options.range = tuple(options.range)
    if options.directional is None and options.reconstruction is None:  # what won on the toy world, docs/adaptation.md
        options.directional, options.reconstruction = (1.0, 0.0) if options.prompt else (0.0, 1.0)
    options.directional, options.reconstruction = options.directional or 0.0, options.reconstruction or 0.0
    if options.precision is None:
        # A text scale of 100 makes rounding 100 times as large, so not bf16, whose is eight times that of fp16.
        options.precision = "fp16" if torch.cuda.is_available() else "fp32"


def adaptation_settings(options: argparse.Namespace, world: int) -> AdaptationSettings:
    """The settings of one of `world` processes. Raises ValueError for what cannot work."""
    batch = divided_batch(options, world)
    return AdaptationSettings(
        steps=options.steps,
        learning_rate=options.learning_rate,
        seed=options.seed,
        sample_every=options.sample_every,
        checkpoint_every=options.checkpoint_every,
        batch_size=batch.at_once,
        accumulation=batch.accumulation,
        precision=options.precision,
        truncation=options.truncation,
        average=options.average,
        layers=options.layers,
        perceptual=options.perceptual,
        distillation=_distillation(options),
    )


def _distillation(options: argparse.Namespace) -> Distillation:
    return Distillation(
        resolution=options.resolution,
        noise=NoiseRange(*options.range),
        score=options.score,
        directional=options.directional,
        unit_score=options.unit_score,
        unit_directional=options.unit_directional,
        scale=options.scale,
        reconstruction=options.reconstruction,
        relative_distance=options.relative_distance,
        percentile=options.percentile,
        antialias=options.antialias,
    )
