"""What the generator costs at 256 px, forward and backward, against the usual formulation by grouped convolutions.

    python benchmarks/generator.py [--batch 1 4] [--rounds 5] [--gpu]

The usual formulation gives every image of a batch weights of its own (modulated and demodulated) and runs them as one
grouped convolution; noise, bias and activation are separate steps, and the filters are convolutions over zero-stuffed
maps. Same weights, same styles, taken in turn (A B A B ...), so that a busy machine slows both; medians. Backward means
the gradient of every synthesis parameter and of the styles. One thread, unless --threads says otherwise, and then the
processor's time is counted, which other programs disturb less than the clock.
"""

import argparse
import sys
import time
from functools import partial
from math import sqrt
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_file import add_json_option, save

from domain_guidance.generators.layout import standard_config
from domain_guidance.generators.stylegan2 import Synthesis

RESOLUTION, BASE = 256, 16384  # the 256 px configuration of 24.8 M parameters


def main():
    options, started = _options(), time.monotonic()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if options.gpu else "cpu")
    config = standard_config(RESOLUTION, base=BASE)
    synthesis = Synthesis(config).to(device)
    with torch.no_grad():
        for name, parameter in synthesis.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
    ways = {
        "grouped convolutions": partial(grouped_synthesis, synthesis),
        "grouped, channels last": partial(grouped_synthesis, synthesis, memory_format=torch.channels_last),
        "ours": synthesis,
        "ours, bfloat16": partial(synthesis, dtype=torch.bfloat16),
    }
    if options.gpu:
        ways["ours, float16"] = partial(synthesis, dtype=torch.float16)
    print(f"{RESOLUTION} px on {device}, {options.threads} thread(s), float32 where nothing else is said\n")
    clock = time.perf_counter if options.gpu or options.threads > 1 else time.process_time
    ratios = {}
    for batch in options.batch:
        ws = torch.randn(batch, config.style_count, config.w_dim, device=device)
        ratios |= _print_times(ways, [*synthesis.parameters(), ws.requires_grad_()], ws, options.rounds, clock)
    save(options.json, "generator", ratios, started=started, gpu=options.gpu, threads=options.threads)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4], help="images at a time")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind, of which the median counts")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU")
    parser.add_argument("--gpu", action="store_true", help="run on the GPU instead of the CPU")
    add_json_option(parser)
    return parser.parse_args()


def _print_times(ways, parameters, ws, rounds, clock):
    forward, both = ({name: [] for name in ways} for _ in range(2))
    with torch.no_grad():
        images = {name: way(ws) for name, way in ways.items()}
    for _ in range(rounds + 1):  # the first round only warms up
        for name, way in ways.items():
            with torch.no_grad():
                forward[name].append(_seconds(clock, lambda way=way: way(ws)))
            both[name].append(_seconds(clock, lambda way=way: torch.autograd.grad(way(ws).square().mean(), parameters)))
    reference, first, found = images["grouped convolutions"], next(iter(ways)), {}
    print(
        f"batch {len(ws):<19} {'forward ms':>10} {'ratio':>6} {'forward + backward ms':>22} {'ratio':>6} "
        f"{'difference of images':>21}"
    )
    for name in ways:
        times = [1000 * median(taken[name][1:]) for taken in (forward, both)]
        ratios = [median(taken[name][1:]) / median(taken[first][1:]) for taken in (forward, both)]
        found |= {
            f"{part}, batch {len(ws)}, {name}": ratio for part, ratio in zip(("forward", "forward + backward"), ratios)
        }
        difference = float((images[name] - reference).norm() / reference.norm())
        print(f"{name:<25} {times[0]:>10.0f} {ratios[0]:>6.2f} {times[1]:>22.0f} {ratios[1]:>6.2f} {difference:>21.1e}")
    print()
    return {what: ratio for what, ratio in found.items() if not what.endswith(first)}


def _seconds(clock, work):
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started


# --- the usual formulation -------------------------------------------------------------------------------------------


def grouped_synthesis(synthesis, ws, memory_format=torch.contiguous_format):
    x = synthesis.b4.const.expand(len(ws), -1, -1, -1).contiguous(memory_format=memory_format)
    image = None
    for level, pixels in enumerate(synthesis.config.resolutions):
        block = synthesis.get_submodule(f"b{pixels}")
        if block.conv0 is not None:
            x = _grouped_layer(block.conv0, x, ws[:, 2 * level - 1])
        x = _grouped_layer(block.conv1, x, ws[:, 2 * level])
        rgb = _grouped_rgb(block.torgb, x, ws[:, 2 * level + 1])
        image = rgb if image is None else _filtered(_zero_stuffed(image), (2, 1)) + rgb
    return image


def _grouped_layer(layer, x, w):
    weight = layer.weight[None] * layer.affine(w)[:, None, :, None, None]
    weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    n, o, i, *_ = weight.shape
    x = x.reshape(1, n * i, *x.shape[2:])
    if layer.up:
        weight = weight.transpose(1, 2).reshape(n * i, o, 3, 3)
        y = F.conv_transpose2d(x, weight, stride=2, groups=n)
        y = _filtered(y.reshape(n, o, *y.shape[2:]), (1, 1))
    else:
        y = F.conv2d(x, weight.reshape(n * o, i, 3, 3), padding=1, groups=n)
        y = y.reshape(n, o, *y.shape[2:])
    y = y + layer.noise_strength * layer.noise_const
    return F.leaky_relu(y + layer.bias[:, None, None], 0.2) * sqrt(2)


def _grouped_rgb(layer, x, w):
    n, i = x.shape[:2]
    weight = layer.weight[None] * (layer.affine(w) / sqrt(i))[:, None, :, None, None]
    y = F.conv2d(x.reshape(1, n * i, *x.shape[2:]), weight.reshape(n * 3, i, 1, 1), groups=n)
    return y.reshape(n, 3, *x.shape[2:]) + layer.bias[:, None, None]


def _zero_stuffed(x):
    n, c, h, w = x.shape
    return F.pad(x.reshape(n, c, h, 1, w, 1), (0, 1, 0, 0, 0, 1)).reshape(n, c, 2 * h, 2 * w)


def _filtered(x, padding):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device)
    kernel = (torch.outer(taps, taps) / 16).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, 2 * padding), kernel, groups=x.shape[1])


if __name__ == "__main__":
    main()
