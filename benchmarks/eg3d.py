"""What a view of an EG3D generator costs, as rays and samples grow, and what bounds its memory.

    python benchmarks/eg3d.py [--rounds 3] [--gpu]

The published generator of 512 px with random weights: planes made once, then one view by one camera, the
super-resolution included. Each row in a process of its own, so that its peak of memory is its own: on the CPU that of
the process over what it had before, on a GPU that of PyTorch's allocator. Forward, or forward and backward of the
planes and all parameters. One thread, unless --threads says otherwise, and then the processor's time is counted;
medians.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from apart import apart
from resident import forget_peak, resident
from result_file import add_json_option, save

from domain_guidance.generators.eg3d import Eg3dGenerator, standard_eg3d

PUBLISHED = {"rays": 128, "samples": 48, "at_once": 4096, "gradient": False}
ROWS = [
    PUBLISHED,
    *({**PUBLISHED, "rays": rays} for rays in (32, 64, 256)),
    *({**PUBLISHED, "samples": samples} for samples in (12, 24, 96)),
    *({**PUBLISHED, "at_once": at_once} for at_once in (1024, 16384)),
    *({**PUBLISHED, "gradient": True, "at_once": at_once} for at_once in (1024, 4096, 16384)),
]


def main():
    options, started = _options(), time.monotonic()
    print(
        f"512 px on {'GPU' if options.gpu else 'CPU'}, {options.threads} thread(s), float32; ratios over the "
        f"published {_in_words(PUBLISHED)}\n"
    )
    print(f"{'':<58} {'seconds':>8} {'ratio':>6} {'peak MiB':>9} {'ratio':>6}")
    found, ratios = {}, {}
    for row in ROWS:
        found[_in_words(row)] = seconds, peak = apart(measure, row, options.rounds, options.threads, options.gpu)
        slower, larger = (value / reference for value, reference in zip((seconds, peak), found[_in_words(PUBLISHED)]))
        print(f"{_in_words(row):<58} {seconds:>8.3f} {slower:>6.2f} {peak:>9.0f} {larger:>6.2f}", flush=True)
        if row is not PUBLISHED:
            ratios |= {f"time, {_in_words(row)}": slower, f"peak memory, {_in_words(row)}": larger}
    save(options.json, "eg3d", ratios, started=started, gpu=options.gpu, threads=options.threads)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="views of each kind, of which the median counts")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU")
    parser.add_argument("--gpu", action="store_true", help="run on the GPU instead of the CPU")
    add_json_option(parser)
    return parser.parse_args()


def _in_words(row):
    words = f"{row['rays']}x{row['rays']} rays, {row['samples']} + {row['samples']} samples, {row['at_once']:,} at once"
    return f"{words}, with gradient" if row["gradient"] else words


def measure(row, rounds, threads, gpu):
    """Median seconds of a view, and the peak of memory in MiB beyond generator and planes."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    generator = Eg3dGenerator(standard_eg3d()).to("cuda" if gpu else "cpu")
    with torch.no_grad():
        ws = generator.styles(torch.randn(1, 512).to(generator.mapping.w_avg))
        planes = generator.planes(ws)
    before = _memory(gpu)
    if not gpu:
        forget_peak()
    clock = time.perf_counter if gpu or threads > 1 else time.process_time
    times = []
    for _ in range(rounds + 1):  # the first round only warms up
        begun = clock()
        _view(generator, planes, ws, row)
        if gpu:
            torch.cuda.synchronize()
        times.append(clock() - begun)
    return median(times[1:]), (_memory(gpu, peak=True) - before) / 2**20


def _view(generator, planes, ws, row):
    rendering = replace(
        generator.config.rendering, resolution=row["rays"], samples=row["samples"], importance_samples=row["samples"]
    )
    planes = planes.detach().requires_grad_(row["gradient"])
    with torch.set_grad_enabled(row["gradient"]):
        image = generator.view(planes, ws, generator.cameras(), rendering=rendering, rays_at_once=row["at_once"]).image
    if row["gradient"]:
        image.square().mean().backward()
        generator.zero_grad()


def _memory(gpu, peak=False):
    if gpu:
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    return resident("VmHWM" if peak else "VmRSS")


if __name__ == "__main__":
    main()
