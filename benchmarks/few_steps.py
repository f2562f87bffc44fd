"""What a domain does at cfg 1 in 8 steps, as fast models are sampled: the toy world's student with each of its domains.

    python benchmarks/few_steps.py [--work FOLDER]      half an hour on a CPU

The student (`toy_world/student.py`) draws in 8 steps of Euler at cfg 1. The text-free domain and the side network that
come with the pack were trained on the base that it was distilled from, not on itself: "train on the raw model, use on
the fast one". Beside them stand a LoRA of either, and a side network of the student's own, which are trained here as
`toy_world.py` does it, once, on 1,200 pictures, and kept in --work. Each has four weights to choose from, by the rule
of `toy_world.py`, on other noise; then N = 250.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch
from result_file import add_json_option, add_work_option, save

from domain_guidance.diffusers_host.denoiser import DiffusersDenoiser
from domain_guidance.diffusion.sampling import karras_sigmas, sample_euler
from domain_guidance.domains.training_forms import ADAPTER, SIDE_NETWORK
from domain_guidance.evidence.cells import diversity
from domain_guidance.evidence.plan import FULL, LARGEST
from domain_guidance.evidence.worlds import Workshop, unet_of_file
from domain_guidance.guidance import GuidedDenoiser, Term, compose
from domain_guidance.side_networks import SideGuidedDenoiser, read_side_file
from domain_guidance.toy_world import checkpoints, comparison, student
from domain_guidance.toy_world.prompts import encode
from domain_guidance.toy_world.sweep import IN_DOMAIN, choose

WEIGHTS = (0.5, 1.0, 1.5, 2.0)
SEED = 0  # of the trainings
SEARCH, MEASURED = (90210, 2), (2023, 5)  # the noise, and pictures for each of the 50 prompts


def main():
    options, started = _options(), time.monotonic()
    models = comparison.load_models()
    fast = DiffusersDenoiser(checkpoints.load_base(name=checkpoints.STUDENT)[0], models.schedule)
    ratios = _row(models, "the student alone", 1, fast, None)
    limit = IN_DOMAIN * _score(models, fast, *SEARCH)[0].distance
    for title, evaluations, build in (*_ways(models, fast), *_more_ways(_trained(options.work), models, fast)):
        scored = [({"weight": weight}, _score(models, build(weight), *SEARCH)[0]) for weight in WEIGHTS]
        weight = choose(scored, limit)["weight"]
        ratios |= _row(models, title, evaluations, build(weight), weight)
    save(options.json, "few_steps", ratios, started=started, threads=torch.get_num_threads())


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_work_option(parser, "few_steps")
    add_json_option(parser)
    return parser.parse_args()


def _ways(models, fast):
    """What each is called, its evaluations a step, and what makes a denoiser of a weight."""
    yield "side network", 1, partial(_beside, models, fast, checkpoints.load_side_network().network)
    yield (
        "whole text-free domain",
        3,
        lambda weight: GuidedDenoiser(fast, models.domain, models.empty, models.empty, weight, 1.0),
    )
    yield "whole text-free domain, its own base as reference", 3, lambda weight: _from_its_base(models, fast, weight)


def _beside(models, fast, network, weight):
    return SideGuidedDenoiser(fast, network, "epsilon", models.empty, weight, cfg=1.0)


def _from_its_base(models, fast, weight):
    """With `reference_model`: what the domain adds to the base that it was trained on."""

    def denoise(x, sigma, prompt):
        before = models.base(x, sigma, models.empty)
        term = Term(models.domain(x, sigma, models.empty), before, weight)
        return compose(fast(x, sigma, prompt), [term])

    return denoise


def _trained(work):
    """The files of what is trained here, by what each is trained on and its form."""
    files = {}
    for base, forms in ((checkpoints.BASE, (ADAPTER,)), (checkpoints.STUDENT, (ADAPTER, SIDE_NETWORK))):
        workshop = Workshop(work / Path(base).stem, FULL, torch.device("cpu"), base)
        for form in forms:
            files[base, form] = workshop.file(form, LARGEST, SEED)
            if not files[base, form].exists():
                workshop.train(form, LARGEST, SEED)
    return files


def _more_ways(files, models, fast):
    """As `_ways`."""
    for base, whose in ((checkpoints.BASE, "of its base"), (checkpoints.STUDENT, "of its own")):
        yield f"LoRA {whose}, at that strength", 1, partial(_with_lora, files[base, ADAPTER], models)
    adapted = _with_lora(files[checkpoints.BASE, ADAPTER], models, 1.0)
    yield "domain adapter of its base, reference prompt", 2, lambda weight: _on_prompt(fast, adapted, weight)
    own = read_side_file(files[checkpoints.STUDENT, SIDE_NETWORK]).network
    yield "side network of its own", 1, partial(_beside, models, fast, own)


def _with_lora(file, models, strength):
    """The student with a LoRA at a strength; at cfg 1 that is also reference `fast` of Apply Domain Guidance."""
    plain, changed = checkpoints.load_base(name=checkpoints.STUDENT)[0], unet_of_file(file, checkpoints.STUDENT)
    with torch.no_grad():
        for ours, theirs in zip(plain.parameters(), changed.parameters()):
            ours.lerp_(theirs, strength)
    return DiffusersDenoiser(plain, models.schedule)


def _on_prompt(fast, adapted, weight):
    """Domain and reference both read the prompt."""

    def denoise(x, sigma, prompt):
        start = fast(x, sigma, prompt)
        return compose(start, [Term(adapted(x, sigma, prompt), start, weight)])

    return denoise


@torch.no_grad()
def _score(models, denoiser, noise, repeats):
    asked, generator = comparison.every_prompt(repeats), torch.Generator().manual_seed(noise)
    sigmas = karras_sigmas(student.STEPS, float(models.schedule.sigmas[0]), float(models.schedule.sigmas[-1]))
    start, told = torch.randn(len(asked), 3, 16, 16, generator=generator) * sigmas[0], encode(asked, models.table)
    images = sample_euler(lambda x, sigma: denoiser(x, sigma, told), start, sigmas)
    reference = comparison.held_out_domain(1000).images
    return comparison.score(models, images, asked, reference), diversity(images, asked)


def _row(models, title, evaluations, denoiser, weight):
    found, varied = _score(models, denoiser, *MEASURED)
    row = title if weight is None else f"{title}, weight {weight:g}"
    print(f"{row:>60}: {evaluations} evaluations a step, digit {found.digit:.1%}, distance {found.distance:.3f}")
    return {
        f"{row}: evaluations a step": evaluations,
        f"{row}: digit as asked": found.digit,
        f"{row}: distance": found.distance,
        f"{row}: diversity": varied,
    }


if __name__ == "__main__":
    main()
