"""What meshes cost: views of a mesh and its painting, as triangles grow, and agreement of views at every step.

    python benchmarks/meshes.py [--rounds 3] [--gpu]

A sphere of 2,500 to 1,000,000 triangles is drawn from eight sides at 512 px and painted from those pictures at
1,024 px; ratios of time are over the smallest. Eight latents of 16 to 128 cells are averaged once, as Synchronise
Views does at every step; ratios are over one convolution with 320 channels, of which a UNet of SD 1.5 has dozens at
that size. Each row in a process of its own, so that its peak of memory is its own. One thread, unless --threads says
otherwise; medians.
"""

import argparse
import math
import sys
import time
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from apart import apart
from resident import forget_peak, resident
from result_file import add_json_option, save

from domain_guidance.meshes import Surface, arrange, correspond, draw_views, paint

VIEWS, PIXELS, TEXTURE = 8, 512, 1024
ROWS = (25, 158, 500)  # of the sphere, which has twice as many columns
MESH_BYTES = 34  # a triangle: its three indices, and half a vertex with its texture coordinates
CELLS = (16, 64, 128)
CHANNELS = 320


def main():
    options, started = _options(), time.monotonic()
    ratios = {}
    print(f"{VIEWS} views, on {'GPU' if options.gpu else 'CPU'}, {options.threads} thread(s)\n")
    for job in (draw, painted):
        found = [_measured(job, rows, options) for rows in ROWS]
        for rows, (seconds, peak) in zip(ROWS, found):
            what, slower = f"{job.__doc__}, {triangles(rows):,} triangles", seconds / found[0][0]
            print(f"{what:<52} {seconds:8.2f} s {slower:7.2f} {peak:8.0f} MiB", flush=True)
            if rows != ROWS[0]:
                ratios[f"time, {what}"] = slower
            if rows == ROWS[-1]:
                ratios[f"peak memory over the mesh's own, {what}"] = peak / (triangles(rows) * MESH_BYTES / 2**20)
    for cells in CELLS:
        (average, _), (layer, _) = (_measured(job, cells, options) for job in (averaged, convolved))
        what = f"average of {VIEWS} latents of {cells}x{cells} over one convolution"
        print(f"{what:<52} {average:8.4f} s {average / layer:7.3f}", flush=True)
        ratios[f"time, {what}"] = average / layer
    save(options.json, "meshes", ratios, started=started, gpu=options.gpu, threads=options.threads)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, of which the median counts")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU")
    parser.add_argument("--gpu", action="store_true", help="run on the GPU instead of the CPU")
    add_json_option(parser)
    return parser.parse_args()


def _measured(job, size, options):
    return apart(measure, job, size, options.rounds, options.threads, options.gpu)


def measure(job, size, rounds, threads, gpu):
    """Median seconds of a job, and the peak of memory in MiB beyond what it is given."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.set_default_device("cuda" if gpu else "cpu")
    work = job(size)
    work()  # warms up
    before = _memory(gpu)
    if not gpu:
        forget_peak()
    clock = time.perf_counter if gpu or threads > 1 else time.process_time
    times = []
    for _ in range(rounds):
        begun = clock()
        work()
        if gpu:
            torch.cuda.synchronize()
        times.append(clock() - begun)
    return median(times), (_memory(gpu, peak=True) - before) / 2**20


def draw(rows):
    """views drawn"""
    surface = sphere(rows)
    views = seen(surface, PIXELS)
    return lambda: draw_views(surface, views)


def painted(rows):
    """painted"""
    surface = sphere(rows)
    views = seen(surface, PIXELS)
    images = torch.rand(VIEWS, PIXELS, PIXELS, 3)
    return lambda: paint(surface, views, images, TEXTURE)


def averaged(cells):
    surface = sphere(ROWS[0])
    found, latents = correspond(surface, seen(surface, cells)), torch.randn(VIEWS, 4, cells, cells)
    return lambda: found.average(latents)


def convolved(cells):
    layer, features = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), torch.randn(VIEWS, CHANNELS, cells, cells)

    def run():
        with torch.no_grad():
            layer(features)

    return run


def sphere(rows):
    """A sphere with one chart; its poles are rings of no radius."""
    down, across = torch.meshgrid(torch.linspace(0, 1, rows + 1), torch.linspace(0, 1, 2 * rows + 1), indexing="ij")
    turn, pitch = 2 * math.pi * across, math.pi * down
    vertices = torch.stack((pitch.sin() * turn.sin(), pitch.cos(), pitch.sin() * turn.cos()), dim=2).view(-1, 3)
    corner = torch.arange(rows)[:, None] * (2 * rows + 1) + torch.arange(2 * rows)
    below, right = corner + 2 * rows + 1, corner + 1
    faces = torch.stack((corner, below, right, right, below, below + 1), -1).view(-1, 3)
    return Surface(vertices, faces, torch.stack((across, down), dim=2).view(-1, 2))


def triangles(rows):
    return 4 * rows * rows


def seen(surface, pixels):
    lens = math.radians(40)
    return arrange(surface, "ring", count=VIEWS, field_of_view=lens, height=pixels, width=pixels)


def _memory(gpu, peak=False):
    if gpu:
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    return resident("VmHWM" if peak else "VmRSS")


if __name__ == "__main__":
    main()
