"""`python -m domain_guidance evaluate-generator`: a StyleGAN2's pictures measured against real ones.

The protocol of arXiv 2212.04473: 2,000 samples at truncation 0.7 against real images of the target class, diversity in
groups, and a CLIP score where a prompt is given. Distances are of CLIP embeddings [choice]; LPIPS would need weights of
its own.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import FolderImages, Skipped
from ..diffusers_host.clip import ClipFolder
from ..evaluation import Comparison, clip_score, diversity, embed, grouped_diversity
from ..generators import Generator, build_generator, latents, open_generator_file
from ..generators.drawing import check_flat, one_hot
from .command import Command
from .evaluate import (
    add_measure_options,
    check_measure_options,
    chosen_device,
    measured,
    opened_inception,
    tell,
    tell_fid,
    write,
)
from .interrupts import Check

logger = logging.getLogger(__name__)

NO_DIVERSITY = 1e-9  # what rounding alone may leave between equal pictures


def add_evaluate_generator_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="generator file, or any file that convert reads")
    parser.add_argument(
        "--count", type=int, default=2000, help="number of pictures, of the seeds 0, 1, ... (default: %(default)s)"
    )
    parser.add_argument(
        "--truncation", type=float, default=0.7, help="truncation psi: 1 for full variety (default: %(default)s)"
    )
    parser.add_argument("--label", type=int, help="class to draw, for a class-conditional generator")
    parser.add_argument(
        "--groups",
        type=int,
        default=10,
        help="groups of seeds within which diversity is measured as well (default: %(default)s)",
    )
    parser.add_argument(
        "--prompt", help="text that the pictures should show, to measure a CLIP score; needs a whole model as --clip"
    )
    parser.add_argument(
        "--source", type=Path, help="the generator before its adaptation, to measure how much of its diversity is left"
    )
    add_measure_options(parser)


class GeneratorImages:
    """A generator's pictures as a `data.Pictures`, image i from seed i alone, drawn when it is asked for."""

    def __init__(self, generator: Generator, count: int, psi: float, labels: Tensor | None = None):
        self._generator, self._count, self._psi, self._labels = generator, count, psi, labels

        self.left_out: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return self._count

    @torch.no_grad()
    def load(self, index: int) -> Tensor:
        z = latents([index], self._generator.config.z_dim).to(self._generator.mapping.w_avg)
        return self._generator(z, self._labels, psi=self._psi)[0].clamp(-1, 1).cpu()

    def name(self, index: int) -> str:
        return f"seed {index}"

    def remark(self, index: int) -> str:
        return ""


def evaluate_generator(options: argparse.Namespace, check: Check) -> None:
    """Measure as the options say. check: called between batches.

    Raises GeneratorFileError or ValueError with one sentence.
    """
    if options.count < 2 or not 1 <= options.groups <= options.count // 2:
        raise ValueError(
            f"--count is {options.count} and --groups {options.groups}, expected at least 1 group and at least 2 "
            "pictures for each."
        )
    check_measure_options(options)
    inception = opened_inception(options)
    encoder = ClipFolder(options.clip, chosen_device())
    text = encoder.embed_text(options.prompt) if options.prompt else None
    samples, reference = drawn_from(options.file, options), FolderImages(options.reference)
    source = None if options.source is None else drawn_from(options.source, options)
    made = measured(samples, reference, encoder, options, check)
    facts = made.facts | _of_generator(made, text, options)
    tell(made, facts, options)
    _tell(facts, options)
    if source is not None:
        before = embed(source, encoder, batch_size=options.batch_size, done=lambda count: check())
        facts["source_diversity"] = diversity(unit(before.features))
        _tell_source(facts)
        write(facts, options)
    tell_fid(inception, samples, reference, facts, options, check)


def drawn_from(file: Path, options: argparse.Namespace) -> GeneratorImages:
    """Raises GeneratorFileError for a generator that cannot be read, or whose pictures need a camera."""
    read = open_generator_file(file)
    check_flat(read)
    generator = build_generator(read).to(chosen_device())
    assert isinstance(generator, Generator)  # it is flat
    return GeneratorImages(generator, options.count, options.truncation, one_hot(options.label, generator))


def _of_generator(made: Comparison, text: Tensor | None, options: argparse.Namespace) -> dict[str, Any]:
    """Facts beside those of the comparison. text: embedding [1, D] of the prompt."""
    features = unit(made.embedded.features)
    groups = torch.arange(len(features)) * options.groups // len(features)
    return {
        "truncation": options.truncation,
        "label": options.label,
        "groups": options.groups,
        "diversity_in_groups": grouped_diversity(features, groups),
        "diversity_by_nearest_reference": _by_reference(features, made.measures.nearest.index.cpu()),
    } | ({} if text is None else {"prompt": options.prompt, "clip_score": clip_score(features, text)})


def unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.double(), dim=1)


def _by_reference(features: Tensor, groups: Tensor) -> tuple[float, float] | None:
    """Diversity among samples of one nearest reference image (Ojha et al. 2021); None where no two share one."""
    return grouped_diversity(features, groups) if groups.unique(return_counts=True)[1].max() > 1 else None


def _tell(facts: dict[str, Any], options: argparse.Namespace) -> None:
    mean, deviation = facts["diversity_in_groups"]
    size = options.count // options.groups
    logger.info(
        "Diversity in %d groups of %d seeds: %.3g, standard deviation %.2g.", options.groups, size, mean, deviation
    )
    if facts["diversity_by_nearest_reference"] is not None:
        logger.info(
            "Diversity among images of one nearest reference image: %.3g, standard deviation %.2g.",
            *facts["diversity_by_nearest_reference"],
        )
    if "clip_score" in facts:
        logger.info("CLIP score of '%s': %.1f of 100, %d images.", options.prompt, facts["clip_score"], options.count)


def _tell_source(facts: dict[str, Any]) -> None:
    before = facts["source_diversity"]
    if before < NO_DIVERSITY:
        logger.info("The source's diversity is 0 at the same seeds: its pictures are all alike, so none can be left.")
        return
    logger.info(
        "The source's diversity is %.3g at the same seeds: %.0f%% of it is left.",
        before,
        100 * facts["diversity"] / before,
    )


EVALUATE_GENERATOR = Command(
    name="evaluate-generator",
    summary="measure a generator's pictures against real ones",
    add_options=add_evaluate_generator_options,
    run=evaluate_generator,
)
