"""The methods on things that the domain was never shown: emoji in ink and as glossy figures.

    python -m domain_guidance.emoji_world drawings --packages DIR --out WORLD      see its help; a minute
    python -m domain_guidance.emoji_world train --out WORLD                        base and judge: 2.5 hours on a CPU
    python benchmarks/emoji_world.py --world WORLD [--work FOLDER]                 four hours on a CPU

Each domain is trained three times in every form, on the same pictures without captions. Weights are chosen with the
first training, on other noise, by the rule of `toy_world.py`: of those within a tenth of the base's distance, the most
things as asked. Every training and every number is kept at once, and the same command goes on from there.
`python benchmarks/page.py` puts the results into docs/evidence.md.
"""

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch
from result_file import add_work_option, commit, machine, write_whole

from domain_guidance.domains.fingerprint import fingerprint
from domain_guidance.emoji_world.checkpoints import DRAWINGS, load_judge, read_base
from domain_guidance.emoji_world.drawings import read_drawings
from domain_guidance.emoji_world.evaluation import DomainScore
from domain_guidance.emoji_world.forms import FORMS, train_form
from domain_guidance.emoji_world.things import DOMAINS
from domain_guidance.evidence.emoji import COMPARED, read_world, score
from domain_guidance.evidence.tables import words
from domain_guidance.toy_world.sweep import IN_DOMAIN, choose

RESULTS = Path(__file__).parent / "results" / "emoji_world_full.json"
SEEDS = (1, 2, 3)  # of the trainings
SEARCH, MEASURED = (90210, 2), (2023, 4)  # the noise, and pictures of each of the held-out things


class Found:
    """Numbers by key in a JSON file, each of which is made once, and each method's chosen weights."""

    def __init__(self, file):
        self.file = file
        empty = {"seconds": 0.0, "found": {}, "chosen": {}}
        self.values = json.loads(file.read_text(encoding="utf-8")) if file.exists() else empty

    def get(self, key, make):
        if key not in self.values["found"]:
            started = time.monotonic()
            self.values["found"][key] = make()
            self.values["seconds"] += time.monotonic() - started
            self.write()
        return self.values["found"][key]

    def choose(self, key, weights):
        self.values["chosen"][key] = weights
        self.write()

    def write(self, **more):
        self.values |= more
        write_whole(self.file, self.values)


def main():
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = Found(options.results)
    base = fingerprint(read_base(options.world)[0])
    if found.values.setdefault("base", base) != base:
        sys.exit(f"'{options.results}' holds results of another base: give --results and --work of their own.")
    found.write(machine=machine(False, torch.get_num_threads()), commit=commit(), seeds=SEEDS)
    judge, drawn = load_judge(options.world), read_drawings(options.world / DRAWINGS)
    for hand in options.hands:
        trained = {seed: _trained(options, found, hand, seed) for seed in SEEDS}
        worlds = {seed: read_world(options.world, files) for seed, files in trained.items()}
        _compare(found, hand, worlds, partial(score, judge=judge, drawn=drawn, hand=hand))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", type=Path, required=True, help="the folder of `emoji_world train`, with its judge")
    parser.add_argument("--hands", nargs="+", choices=DOMAINS, default=DOMAINS, help="the domains (default: both)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file of all results")
    add_work_option(parser, "emoji_world")
    return parser.parse_args()


def _trained(options, found, hand, seed):
    """The files of a domain in every form."""
    files = {form: options.work / f"{hand}-{form}-{seed}.safetensors" for form in FORMS}
    options.work.mkdir(parents=True, exist_ok=True)
    for form, file in files.items():

        def train(form=form, file=file):
            train_form(form, hand, options.world, file, replace(FORMS[form], seed=seed))
            return {}

        if not file.exists():
            found.values["found"].pop(f"{hand}/{form}/{seed}", None)
        found.get(f"{hand}/{form}/{seed}", train)
    return files


def _compare(found, hand, worlds, measure):
    """Choose every method's weights and measure it, for each of the trainings {seed: its world}."""
    limit = float("inf")
    for name, method in COMPARED.items():
        scored = []
        for weights in method.grid:
            made = partial(_measured, worlds[SEEDS[0]], method, weights, SEARCH, measure)
            scored.append((weights, DomainScore(**found.get(f"{hand}/search/{name}/{words(weights)}", made))))
        chosen = choose(scored, limit, right=attrgetter("thing"))
        if name == "base":
            limit = IN_DOMAIN * min(score.distance for _, score in scored)
        for seed in SEEDS if method.needs else SEEDS[:1]:
            made = partial(_measured, worlds[seed], method, chosen, MEASURED, measure)
            values = found.get(f"{hand}/measured/{name}/{words(chosen)}/{seed}", made)
            logging.info("%s, %s, %s, training %d: %s", hand, method.title, words(chosen), seed, values)
        found.choose(f"{hand}/{name}", words(chosen))


def _measured(world, method, weights, noise_and_repeats, measure):
    seed, repeats = noise_and_repeats
    return asdict(measure(world, denoiser=method.build(world, **weights), seed=seed, repeats=repeats))


if __name__ == "__main__":
    main()
