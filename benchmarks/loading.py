"""What Load Domain UNet takes of memory: over the host's own loader, on the same file of true size.

    cd <ComfyUI> && python <pack>/benchmarks/loading.py [--only "SD 1.5, fp32" ...] [--rounds 3]

UNets of SD 1.5 and SDXL with random weights, as domain files of 1.6 to 4.8 GiB in a temporary folder (TMPDIR). Each
loader runs in turn, in a process of its own on the CPU, where it holds its network and the file that it reads. Linux
counts both, but lets go of pages of the file where memory is short: the highest of the rounds counts. SDXL stays in
half precision, as on a GPU; SD 1.5 is widened to single precision, as ComfyUI does on a CPU. There is no GPU column:
weights are read into the memory of the CPU first.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path.cwd()), str(PACK / "tests" / "host"), str(PACK)]

import host_process
import torch
from apart import apart
from resident import forget_peak, resident
from result_file import add_json_option, save

from domain_guidance.domains.card import DomainCard
from domain_guidance.domains.domain_file import write_domain_file

SD15 = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "legacy": False,
    "context_dim": 768,
    "num_heads": 8,
    "num_head_channels": -1,
}
SDXL = {
    **SD15,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "use_linear_in_transformer": True,
    "context_dim": 2048,
    "num_heads": -1,
    "num_head_channels": 64,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
}
# What a file holds, and whether the host is told to leave it in half precision.
FILES = {
    "SD 1.5, fp32": (SD15, torch.float32, False),
    "SD 1.5, fp16": (SD15, torch.float16, False),
    "SDXL, fp16": (SDXL, torch.float16, True),
}
GIB = 2**30


def main():
    options, started = _options(), time.monotonic()
    ratios = {}
    print(f"{'':<14} {'file':>6}   {'held: host':>10} {'ours':>6} {'ratio':>6}   {'peak: host':>10} {'ours':>6} ratio")
    for name in options.only:
        _, _, half = FILES[name]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "domain.safetensors"
            apart(write, path, name)
            rounds = [[apart(measure, way, path, half) for way in (stock, ours)] for _ in range(options.rounds)]
            (held, peak), (our_held, our_peak) = (map(max, zip(*found)) for found in zip(*rounds))
            size = path.stat().st_size
        print(
            f"{name:<14} {size / GIB:6.2f}   {held / GIB:10.2f} {our_held / GIB:6.2f} {our_held / held:6.3f}   "
            f"{peak / GIB:10.2f} {our_peak / GIB:6.2f} {our_peak / peak:5.3f}",
            flush=True,
        )
        ratios |= {f"memory held, {name}": our_held / held, f"peak memory, {name}": our_peak / peak}
    save(options.json, "loading", ratios, started=started, threads=torch.get_num_threads())


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=FILES, default=tuple(FILES), metavar="FILE", help=", ".join(FILES))
    parser.add_argument("--rounds", type=int, default=3, help="runs of each loader, of which the highest counts")
    add_json_option(parser)
    return parser.parse_args()


def write(path, name):
    """A domain file of random weights."""
    with tempfile.TemporaryDirectory() as folder:
        _start(folder)
        import comfy.ops
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

        config, dtype, _ = FILES[name]
        network = UNetModel(**config, dtype=dtype, device="meta", operations=comfy.ops.disable_weight_init)
        torch.manual_seed(0)
        weights = {
            key: torch.empty(tensor.shape, dtype=dtype).uniform_(-0.02, 0.02)
            for key, tensor in network.state_dict().items()
        }
        card = DomainCard(form="text-based", prediction="epsilon", base_fingerprint="0")
        write_domain_file(path, weights, card=card, cross_attn=torch.zeros(1, 77, config["context_dim"]))


def measure(way, path, half):
    """Bytes that a loader holds when it is done, and at its peak, beyond what the process held before."""
    with tempfile.TemporaryDirectory() as folder:
        logging.disable(logging.WARNING)
        _start(folder, half)
        load = way()
        before = resident()
        forget_peak()
        model = load(path)
        held, peak = resident() - before, resident("VmHWM") - before
        assert any(parameter.numel() for parameter in model.model.diffusion_model.parameters())
        return held, peak


def stock():
    """Load Diffusion Model"""
    import comfy.sd

    return lambda path: comfy.sd.load_diffusion_model(str(path))


def ours():
    """Load Domain UNet"""
    pack = host_process.Host(host_process.load_pack(PACK))
    return pack.library("nodes.comfy_host.domains.load_domain").read_domain_unet


def _start(folder, half=False):
    from comfy.cli_args import args

    args.fp16_unet = half
    host_process.start(host_process.make_base_directory(Path(folder)))


if __name__ == "__main__":
    main()
