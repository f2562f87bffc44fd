"""Whether a side network is as good as the whole text-free domain, on the toy world: same prompts, same noise, paired.

    python benchmarks/side_network.py [--side FILE] [--domain FILE] [--blocks 20]     hours on a CPU

FILE is what `python -m domain_guidance.toy_world train --out DIR` writes; left out, what the pack ships. A block draws
each of the 50 prompts twice with both, at 20 and 8 steps, with DPM++ 2M, Euler and ancestral Euler. Finished blocks are
kept in --work, and the same command goes on from there; more blocks narrow the bounds. Both guide at cfg 4 and weight
1.5, which `toy_world sweep` chose for the whole domain on other noise. Printed are the pictures lost and the distance
gained by the side network, each with the upper end of its one-sided 95 % interval (2,000 resamplings of pairs; for
digits at least 3/N), and the ratio of diversities. The rule for "not worse": at most 2 % of the digits lost, 0.005
gained in distance, both by the upper end, and 0.97 of the diversity.
"""

import argparse
import hashlib
import sys
import time
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch
from result_file import add_json_option, save
from safetensors.torch import load_file

from domain_guidance.diffusion import sampling
from domain_guidance.evaluation import polynomial
from domain_guidance.evidence.cells import diversity
from domain_guidance.files.atomic_file import save_tensors
from domain_guidance.side_networks import SideGuidedDenoiser, read_side_file
from domain_guidance.toy_world import checkpoints, comparison
from domain_guidance.toy_world.evaluation import with_domain
from domain_guidance.toy_world.methods import METHODS
from domain_guidance.toy_world.prompts import Prompts, encode

STEPS = (20, 8)
REPEATS, FIRST_SEED = 2, 5000  # pictures of a prompt in a block; the noise of the first block
RESAMPLED, UPPER = 2000, 0.95
REFERENCE = 1000  # held-out plates that distances are measured to
DIGITS, DISTANCE, DIVERSITY = 0.02, 0.005, 0.97  # the rule


def main():
    options, started = _options(), time.monotonic()
    models = (
        comparison.load_models() if options.domain is None else with_domain(comparison.load_models(), options.domain)
    )
    guided = {"whole": _whole(models), "side": _side(models, options.side)}
    ratios = {}
    print(
        f"{'sampler':>16} {'steps':>5} {'N':>5} {'digits lost':>22} {'distance gained':>22} {'diversity':>9}  not worse"
    )
    for steps in STEPS:
        for name in SAMPLERS:
            ratios |= _compared(models, guided, name, steps, options)
    save(options.json, "side_network", ratios, started=started, threads=torch.get_num_threads())


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shipped = checkpoints.FOLDER / checkpoints.SIDE_NETWORK
    parser.add_argument("--side", type=Path, default=shipped, help="the side network (default: the shipped one)")
    parser.add_argument("--domain", type=Path, help="the whole domain (default: the one that comes with the pack)")
    parser.add_argument(
        "--blocks", type=int, default=20, help="of 100 pictures for each sampler (default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, default=PACK / ".environments" / "side_network", help="folder of blocks")
    add_json_option(parser)
    return parser.parse_args()


# --- the two ways and the samplers -----------------------------------------------------------------------------------


def _whole(models):
    return METHODS["decoupled"].build(models, **comparison.BEST["decoupled"])


def _side(models, file):
    network = read_side_file(file).network
    return SideGuidedDenoiser(models.base, network, "epsilon", models.empty, **comparison.BEST["decoupled"])


def sample_ancestral(denoise, x, sigmas, generator):
    """Euler with fresh noise after each step (Karras et al. 2022, with the noise level split as k-diffusion does)."""
    for sigma, following in zip(sigmas[:-1], sigmas[1:]):
        fresh = (following**2 * (sigma**2 - following**2) / sigma**2).sqrt()
        down = (following**2 - fresh**2).sqrt()
        x = x + (x - denoise(x, sigma.expand(len(x)))) / sigma * (down - sigma)
        x = x + torch.randn(x.shape, generator=generator) * fresh
    return x


SAMPLERS = {
    "DPM++ 2M": lambda denoise, x, sigmas, generator: sampling.sample_dpmpp_2m(denoise, x, sigmas),
    "Euler": lambda denoise, x, sigmas, generator: sampling.sample_euler(denoise, x, sigmas),
    "ancestral Euler": sample_ancestral,
}


# --- drawing ---------------------------------------------------------------------------------------------------------


def _compared(models, guided, name, steps, options):
    """One row, with its entries for the file."""
    asked = comparison.every_prompt(REPEATS)
    blocks = [
        {way: _block(models, denoise, way, name, steps, number, options) for way, denoise in guided.items()}
        for number in range(options.blocks)
    ]
    pictures = {way: torch.cat([block[way] for block in blocks]) for way in guided}
    everything = comparison.every_prompt(REPEATS * options.blocks)
    wanted = Prompts(*(value.repeat(options.blocks) for value in (asked.digit, asked.stroke, asked.ground)))
    assert torch.equal(wanted.digit, everything.digit)  # a block asks for all prompts in their order
    return _judged(models, pictures, wanted, f"{name}, {steps} steps", name, steps)


@torch.no_grad()
def _block(models, denoise, way, name, steps, number, options):
    """The pictures [100, 3, 16, 16] of one block, from disk if they are there."""
    source = options.side if way == "side" else options.domain or checkpoints.FOLDER / checkpoints.DOMAIN
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    file = options.work / f"{way}-{digest}-{name.replace(' ', '_')}-{steps}-{number}.safetensors"
    if file.exists():
        return load_file(file)["pictures"]
    asked, generator = comparison.every_prompt(REPEATS), torch.Generator().manual_seed(FIRST_SEED + number)
    told, sigmas = encode(asked, models.table), _levels(models, steps)
    x = torch.randn(len(asked), 3, 16, 16, generator=generator) * sigmas[0]
    pictures = SAMPLERS[name](lambda x, sigma: denoise(x, sigma, told), x, sigmas, generator)
    options.work.mkdir(parents=True, exist_ok=True)
    save_tensors(file, {"pictures": pictures}, {})
    return pictures


def _levels(models, steps):
    return sampling.karras_sigmas(steps, float(models.schedule.sigmas[0]), float(models.schedule.sigmas[-1]))


# --- judging ---------------------------------------------------------------------------------------------------------


def _judged(models, pictures, asked, title, name, steps):
    read = {way: models.judge.read(images) for way, images in pictures.items()}
    reference = models.judge.read(comparison.held_out_domain(REFERENCE).images).features.double()
    right = {way: (found.digit == asked.digit).double() for way, found in read.items()}
    kernels = {way: _kernels(found.features.double(), reference) for way, found in read.items()}

    def lost_and_gained(times):
        digits = ((right["whole"] - right["side"]) * times).sum() / times.sum()
        return digits, _distance(*kernels["side"], times) - _distance(*kernels["whole"], times)

    count, generator = len(asked), torch.Generator().manual_seed(0)
    drawn = [
        lost_and_gained(torch.randint(count, (count,), generator=generator).bincount(minlength=count).double())
        for _ in range(RESAMPLED)
    ]
    found = lost_and_gained(torch.ones(count, dtype=torch.float64))
    ends = [torch.stack(values).quantile(UPPER) for values in zip(*drawn)]
    ends[0] = ends[0].clamp(min=3 / count)  # what no pair showed may still happen to 3 of N (the rule of three)
    varied = diversity(pictures["side"], asked) / diversity(pictures["whole"], asked)
    holds = ends[0] <= DIGITS and ends[1] <= DISTANCE and varied >= DIVERSITY
    print(
        f"{name:>16} {steps:>5} {count:>5} {100 * found[0]:>+8.2f} % (≤ {100 * ends[0]:+.2f}) "
        f"{found[1]:>+11.4f} (≤ {ends[1]:+.4f}) {varied:>9.3f}  {'yes' if holds else 'not shown'}",
        flush=True,
    )
    return {
        f"digits lost, {title}, N = {count}": float(found[0]),
        f"digits lost, upper 95 % bound, {title}": float(ends[0]),
        f"distance gained, {title}": float(found[1]),
        f"distance gained, upper 95 % bound, {title}": float(ends[1]),
        f"diversity, side over whole, {title}": float(varied),
    }


def _kernels(ours, reference):
    """Kernels between pictures [N, N], and the mean one of each to the reference [N]."""
    return polynomial(ours, ours), polynomial(ours, reference).mean(1)


def _distance(among, towards, times):
    """Squared mean discrepancy, unbiased, up to what the reference alone adds; times: how often each picture counts.

    A picture that was drawn twice is not compared with itself.
    """
    total = times.sum()
    pairs = times @ among @ times - (times.square() * among.diagonal()).sum()
    return pairs / (total**2 - times.square().sum()) - 2 * (times * towards).sum() / total


if __name__ == "__main__":
    main()
