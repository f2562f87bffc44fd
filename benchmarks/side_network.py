"""Whether a side network is as good as the whole text-free domain, on the toy world: same prompts, same noise, paired.

    python benchmarks/side_network.py [--sizes 1200 100 25] [--blocks 7]     hours on a CPU

Both forms are trained three times on 1,200, 100 and 25 pictures, the whole domain as `toy_world.py` trains it and the
side network, which begins from nothing, five times as long at most: on 100 and 25 pictures it is the best file of that
training, and so is the whole domain on 25.
The whole domain guides at the weights that the search of `toy_world.py` chose for it, on another training and other
noise. So does the side network but for its cfg, which is chosen once, also on another training and other noise: of
those that lose no digits, the one whose pictures are nearest to the domain. A block draws each of the 50 prompts twice
by both, at 20 and 8 steps, with DPM++ 2M, Euler and ancestral Euler. Trainings and finished blocks are kept in --work,
and the same command goes on from there; more blocks narrow the bounds. Sizes that were not asked for stay in --json's
file as they are. Printed are the digits lost and the distance gained by the side network, each with the upper end of
its one-sided 95 % interval, and the ratio of diversities. The rule for "not worse": at most 2 % of the digits lost,
0.005 gained in distance, both by the upper end, and 0.97 of the diversity.
"""

import argparse
import hashlib
import json
import logging
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch
from result_file import add_json_option, add_work_option, save
from safetensors.torch import load_file

from domain_guidance.diffusion import sampling
from domain_guidance.evidence.pairs import compare_pairs
from domain_guidance.evidence.plan import EARLY, FEW, FULL, LARGEST
from domain_guidance.evidence.results import read_results
from domain_guidance.evidence.worlds import Workshop
from domain_guidance.files.atomic_file import save_tensors
from domain_guidance.side_networks import read_side_file
from domain_guidance.toy_world.comparison import every_prompt
from domain_guidance.toy_world.methods import METHODS
from domain_guidance.toy_world.prompts import encode

SIZES, STEPS = (1200, 100, 25), (20, 8)
REPEATS, FIRST_SEED = 2, 5000  # pictures of a prompt in a block; the noise of the first block
CFGS = (4.0, 3.75, 3.5, 3.25, 3.0)  # of which the side network's is chosen
SEARCH_BLOCKS, SEARCH_SEED = 7, 9000
WHOLE, SIDE = "decoupled", "side network"  # the two methods
PLANS = {WHOLE: FULL, SIDE: replace(FULL, name="longer", steps=5 * FULL.steps)}
RESULTS = Path(__file__).parent / "results" / f"toy_world_{FULL.name}.json"


def main():
    options, started = _options(), time.monotonic()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("domain_guidance.commands").setLevel(logging.WARNING)
    workshops = {way: Workshop(options.work / plan.name, plan, torch.device("cpu")) for way, plan in PLANS.items()}
    ratios = _of_other_sizes(options.json, options.sizes)
    _train(workshops, SIZES[0], FULL.searched)
    cfg = _chosen_cfg(workshops)
    print(f"{'pictures, sampler and steps':>38} {'N':>5} {'digits lost':>22} {'distance gained':>22} {'diversity':>9}")
    for size in options.sizes:
        for seed in FULL.seeds:
            _train(workshops, size, seed)
        ratios |= _trained_steps(workshops[SIDE], size)
        for name, steps in product(SAMPLERS, STEPS):
            ratios |= _compared(workshops, size, cfg, name, steps, options.blocks)
    save(options.json, "side_network", _in_order(ratios), started=started, threads=torch.get_num_threads())


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES, help="pictures to train on")
    parser.add_argument(
        "--blocks", type=int, default=7, help="of 100 pictures for each sampler and training (default: %(default)s)"
    )
    add_work_option(parser, "toy_world")
    add_json_option(parser)
    return parser.parse_args()


def _of_other_sizes(file, sizes):
    if file is None or not file.exists():
        return {}
    kept = json.loads(file.read_text(encoding="utf-8"))["ratios"]
    return {what: value for what, value in kept.items() if not what.startswith(tuple(f"{size} " for size in sizes))}


def _in_order(ratios):
    return {what: ratios[what] for size in SIZES for what in ratios if what.startswith(f"{size} ")}


# --- the two ways and the samplers -----------------------------------------------------------------------------------


def _training(way, size):
    """The training that a way needs: its best file where so many steps are too many for so few pictures."""
    return METHODS[way].needs[0] + EARLY * (size == FEW or (way == SIDE and size < LARGEST))


def _train(workshops, size, seed):
    for way, workshop in workshops.items():
        training = _training(way, size)
        if not workshop.last_file(training, size, seed).exists():
            workshop.train(training, size, seed)


def _trained_steps(workshop, size):
    """After how many steps the side network's files were written, of each training."""
    files = {seed: workshop.file(_training(SIDE, size), size, seed) for seed in FULL.seeds}
    return {
        f"{size} pictures, side network of training {seed}: steps": read_side_file(file).card.training["trained_steps"]
        for seed, file in files.items()
    }


def _weights(way, size, cfg):
    """What the method guides with: the weights of the search, with this cfg for the side network."""
    chosen = dict(read_results(RESULTS).chosen(way + EARLY * (size == FEW), size))
    return chosen | {"cfg": cfg} if way == SIDE else chosen


def _chosen_cfg(workshops):
    """The side network's cfg: the nearest to the domain of those that draw as many digits as the whole domain."""
    settings = SIZES[0], FULL.searched, next(iter(SAMPLERS)), STEPS[0], SEARCH_SEED, SEARCH_BLOCKS
    asked, judge = every_prompt(REPEATS * SEARCH_BLOCKS), workshops[WHOLE].world().judge
    whole, found = _pictures(workshops[WHOLE], WHOLE, None, *settings), {}
    for cfg in CFGS:
        pair = compare_pairs(judge, whole, _pictures(workshops[SIDE], SIDE, cfg, *settings), asked)
        print(f"cfg {cfg:g}: {100 * pair.digits.found:+.2f} % digits lost, {pair.distance.found:+.4f} distance gained")
        if pair.digits.found <= 0:
            found[cfg] = pair.distance.found
    return min(found, key=found.get, default=CFGS[0])


SAMPLERS = {
    "DPM++ 2M": lambda denoise, x, sigmas, generator: sampling.sample_dpmpp_2m(denoise, x, sigmas),
    "Euler": lambda denoise, x, sigmas, generator: sampling.sample_euler(denoise, x, sigmas),
    "ancestral Euler": sampling.sample_euler_ancestral,
}


# --- drawing ---------------------------------------------------------------------------------------------------------


def _compared(workshops, size, cfg, name, steps, blocks):
    """One row, with its entries for the file."""
    pictures = {
        way: torch.cat(
            [_pictures(workshop, way, cfg, size, seed, name, steps, FIRST_SEED, blocks) for seed in FULL.seeds]
        )
        for way, workshop in workshops.items()
    }
    asked = every_prompt(REPEATS * len(FULL.seeds) * blocks)
    found = compare_pairs(workshops[WHOLE].world().judge, pictures[WHOLE], pictures[SIDE], asked)
    row = f"{size} pictures, {name}, {steps} steps"
    print(
        f"{row:>38} {found.count:>5} {100 * found.digits.found:>+8.2f} % (≤ {100 * found.digits.upper:+.2f}) "
        f"{found.distance.found:>+11.4f} (≤ {found.distance.upper:+.4f}) {found.diversity:>9.3f}  "
        f"{'not worse' if found.not_worse else 'not shown'}",
        flush=True,
    )
    return {
        f"{row}: pairs": found.count,
        f"{row}: cfg of the side network": cfg,
        f"{row}: digits lost": found.digits.found,
        f"{row}: digits lost, upper 95 % bound": found.digits.upper,
        f"{row}: distance gained": found.distance.found,
        f"{row}: distance gained, upper 95 % bound": found.distance.upper,
        f"{row}: diversity, side over whole": found.diversity,
    }


def _pictures(workshop, way, cfg, size, seed, name, steps, first_seed, blocks):
    """The pictures [100 blocks, 3, 16, 16] by one training."""
    weights = _weights(way, size, cfg)
    return torch.cat(
        [_block(workshop, way, weights, size, seed, name, steps, first_seed + number) for number in range(blocks)]
    )


@torch.no_grad()
def _block(workshop, way, weights, size, seed, name, steps, noise):
    """The pictures [100, 3, 16, 16] of one block, from disk if they are there."""
    training = _training(way, size)
    made = hashlib.sha256(workshop.file(training, size, seed).read_bytes() + repr(weights).encode()).hexdigest()
    file = workshop.folder / "pairs" / f"{made[:16]}-{name.replace(' ', '_')}-{steps}-{noise}.safetensors"
    if file.exists():
        return load_file(file)["pictures"]
    world, asked = workshop.world((training,), size, seed), every_prompt(REPEATS)
    denoise, generator = METHODS[way].build(world, **weights), torch.Generator().manual_seed(noise)
    told, sigmas = encode(asked, world.table), _levels(world.schedule, steps)
    x = torch.randn(len(asked), 3, 16, 16, generator=generator) * sigmas[0]
    pictures = SAMPLERS[name](lambda x, sigma: denoise(x, sigma, told), x, sigmas, generator)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(file, {"pictures": pictures}, {})
    return pictures


def _levels(schedule, steps):
    return sampling.karras_sigmas(steps, float(schedule.sigmas[0]), float(schedule.sigmas[-1]))


if __name__ == "__main__":
    main()
