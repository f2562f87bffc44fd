"""`python -m domain_guidance adapt`: a generator that draws what a prompt or a domain asks for."""

from __future__ import annotations

import argparse
import json
import logging
from contextlib import ExitStack, closing

from ..adaptation import AdaptedPair, adapt_generator, comparison_picture, find_perceptual
from ..generators import open_generator_file
from .adapt_options import adaptation_settings, add_adapt_options, resolve_adapt
from .command import Command
from .critic import make_critic
from .interrupts import Check, stop_together
from .listener import Listener, tensorboard
from .options import plain
from .presets import ADAPT_PRESETS
from .processes import start_process
from .run_name import claimed_run

logger = logging.getLogger(__name__)

PREVIEW_SEEDS = tuple(range(6))


def adapt(options: argparse.Namespace, check: Check) -> None:
    """Adapt as the options say. check: called between steps, to raise what ends the run.

    Raises ValueError with one sentence for the user.
    """
    if options.dry_run:
        logger.info("%s", json.dumps(plain(options), indent=2))
        return
    process, device = start_process(options.precision)
    settings = adaptation_settings(options, process.world)
    with ExitStack() as stack:
        files = stack.enter_context(claimed_run(process, options.out.parent, options.out.name, options.on_existing))
        pair = AdaptedPair(open_generator_file(options.generator), device)
        perceptual = find_perceptual(device) if settings.perceptual else None
        critic = make_critic(options, device, stack)
        listener = Listener(
            files, settings.steps, lambda: comparison_picture(pair, PREVIEW_SEEDS), tensorboard(files, process, stack)
        )
        for event in stack.enter_context(closing(adapt_generator(pair, critic, settings, files, process, perceptual))):
            if process.rank == 0:
                listener.hear(event)
            stop_together(process, check)


ADAPT = Command(
    name="adapt",
    summary="adapt a generator to a prompt, a domain or both",
    add_options=add_adapt_options,
    run=adapt,
    presets=ADAPT_PRESETS,
    resolve=resolve_adapt,
    less_memory="Lower --micro-batch and the same command resumes the run, or lower --resolution and adapt a new "
    "version",
)
