"""How far a domain travels: trained on one base, used on another training of it, in the toy world.

    python benchmarks/another_base.py [--work FOLDER]      an hour and a half on a CPU

Two checkpoints of one kind of model that share nothing but their pictures: the toy world's base, and one that is
trained here from other random numbers. The text-free domain and the side network that come with the pack belong to the
first. On the second stands beside them a side network of its own. Trainings are kept in --work, and the same command
goes on from there. Each way has the four settings of `toy_world.py` to choose from, by its rule, on other noise; then
N = 250, DPM++ 2M, 20 steps.
"""

import argparse
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch
from result_file import add_json_option, add_work_option, save

from domain_guidance.diffusers_host.denoiser import DiffusersDenoiser
from domain_guidance.diffusion.noise_schedule import scaled_linear
from domain_guidance.evidence.cells import draw, measure
from domain_guidance.evidence.plan import FULL
from domain_guidance.evidence.world import World
from domain_guidance.guidance import Term, compose
from domain_guidance.toy_world import checkpoints, stages
from domain_guidance.toy_world.comparison import every_prompt
from domain_guidance.toy_world.methods import BOTH, METHODS
from domain_guidance.toy_world.prompts import encode_prompt
from domain_guidance.toy_world.sweep import IN_DOMAIN, choose

SEED = 11  # of the other base; the pack's has 1
SEARCH, MEASURED = (90210, 2), (2023, 5)  # the noise, and pictures for each of the 50 prompts
BASE_CFG = {"cfg": 4.0}


def main():
    options, started = _options(), time.monotonic()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _train(options.work)
    first, second, own = _worlds(options.work)
    ratios = _row("the other base alone", second, METHODS["base"].build(second, **BASE_CFG), BASE_CFG)
    limit = IN_DOMAIN * _measured(second, METHODS["base"].build(second, **BASE_CFG), SEARCH).distance
    for title, world, build in (
        ("side network, on its own base", first, METHODS["side network"].build),
        ("side network of the first base, on the other", second, METHODS["side network"].build),
        ("side network of the other base, on the other", own, METHODS["side network"].build),
        ("whole domain, on its own base", first, METHODS["decoupled"].build),
        ("whole domain of the first base, on the other", second, METHODS["decoupled"].build),
        (
            "the same, with the first base as reference",
            second,
            lambda world, **weights: _from_its_base(world, first.models["base"], **weights),
        ),
    ):
        weights = _chosen(world, build, limit)
        ratios |= _row(title, world, build(world, **weights), weights)
    save(options.json, "another_base", ratios, started=started, threads=torch.get_num_threads())


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_work_option(parser, "another_base")
    add_json_option(parser)
    return parser.parse_args()


def _train(work):
    """The other base, and a side network on it, as the stages of the toy world make the pack's."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / checkpoints.BASE).exists():
        stages.make_base(work, replace(stages.BASE, seed=SEED))
    if not (work / checkpoints.SIDE_NETWORK).exists():
        stages.make_side_network(work)


def _worlds(work):
    """The pack's; the other base with the pack's domains; the other base with its own side network."""
    schedule, judge = scaled_linear(), checkpoints.load_judge()
    domain = DiffusersDenoiser(checkpoints.load_domain(), schedule)

    def world(folder, side):
        base, table = checkpoints.load_base(folder)
        models = {"base": DiffusersDenoiser(base, schedule), "text-free": domain}
        return World(models, checkpoints.load_side_network(side).network, table, judge, schedule, FULL.sampling)

    pack = checkpoints.FOLDER
    return world(pack, pack), world(work, pack), world(work, work)


def _from_its_base(world, its_base, cfg, weight):
    """What the domain adds to the base that it was trained on, as with `reference_model`."""
    base, domain = world.models["base"], world.models["text-free"]
    its_empty = encode_prompt(checkpoints.load_base()[1])

    def denoise(x, sigma, prompt):
        start = base(x, sigma, world.empty)
        terms = [
            Term(base(x, sigma, prompt), start, cfg),
            Term(domain(x, sigma, its_empty), its_base(x, sigma, its_empty), weight),
        ]
        return compose(start, terms)

    return denoise


def _chosen(world, build, limit):
    return choose([(weights, _measured(world, build(world, **weights), SEARCH)) for weights in BOTH], limit)


def _measured(world, denoiser, noise_and_repeats):
    noise, repeats = noise_and_repeats
    asked = every_prompt(repeats)
    return measure(world.judge, draw(world, denoiser, asked, noise), asked)


def _row(title, world, denoiser, weights):
    found = _measured(world, denoiser, MEASURED)
    row = f"{title}, {', '.join(f'{name} {value:g}' for name, value in weights.items())}"
    print(f"{row:>70}: digit {found.digit:.1%}, distance {found.distance:.3f}", flush=True)
    return {
        f"{row}: digit as asked": found.digit,
        f"{row}: distance": found.distance,
        f"{row}: diversity": found.diversity,
    }


if __name__ == "__main__":
    main()
