"""The papers' ordering of methods in miniature: trainings, a search for every method's best weights, and what they then
draw.

    python benchmarks/toy_world.py --quick      one training seed, 1,200 pictures, N = 100: under 20 minutes on 2 cores
    python benchmarks/toy_world.py              three seeds, 1,200 to 25 pictures, N = 250: hours on a CPU
    python benchmarks/toy_world.py --workers 2  the same by two processes
    python benchmarks/toy_world.py --gpu        the same on a GPU

Every finished job is in the results file at once, and the same command goes on from there. Trained models and pictures
are kept in --work; a training whose files are gone is repeated only where a job that is still to be done needs it.
docs/evidence.md says what is measured; `python benchmarks/page.py` puts the results into it.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch
from result_file import add_json_option, add_work_option, commit, machine, save

from domain_guidance.evidence.methods_picture import draw_picture
from domain_guidance.evidence.plan import FULL, QUICK
from domain_guidance.evidence.ratios import ratios
from domain_guidance.evidence.run import run
from domain_guidance.evidence.tables import all_tables
from domain_guidance.evidence.worlds import Workshop

RESULTS = Path(__file__).parent / "results"


def main():
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("domain_guidance.commands").setLevel(logging.WARNING)
    plan = QUICK if options.quick else FULL
    device = torch.device("cuda" if options.gpu else "cpu")
    workshop = Workshop(options.work / plan.name, plan, device)
    file = options.results or RESULTS / f"toy_world_{plan.name}.json"
    on = {"machine": machine(options.gpu, torch.get_num_threads()), "commit": commit()}
    results = run(workshop, file, on, options.workers)
    for name, table in all_tables(results).items():
        print(f"\n{name}\n{table}")
    if options.picture:
        draw_picture(workshop, results).save(options.picture)
    started = time.monotonic() - sum(job["seconds"] for job in results.jobs.values())
    command = "python benchmarks/toy_world.py" + " --quick" * options.quick + " --gpu" * options.gpu
    save(
        options.json,
        "toy_world",
        ratios(results),
        started=started,
        gpu=options.gpu,
        threads=torch.get_num_threads(),
        command=command,
    )


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one training seed, 1,200 pictures, few samples")
    parser.add_argument("--gpu", action="store_true", help="train and draw on the GPU instead of the CPU")
    add_work_option(parser, "toy_world")
    parser.add_argument(
        "--results",
        type=Path,
        help="the JSON file of all results (default: results/toy_world_<plan>.json, beside this file)",
    )
    parser.add_argument("--picture", type=Path, help="a picture to draw of the methods side by side")
    parser.add_argument("--workers", type=int, default=1, help="processes that work at once (default: %(default)s)")
    add_json_option(parser)
    options = parser.parse_args()
    if options.workers < 1:
        parser.error(f"--workers is {options.workers}, expected 1 or more: give the number of processes")
    return options


if __name__ == "__main__":
    main()
