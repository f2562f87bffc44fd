"""What domain guidance costs in the real ComfyUI: time against plain CFG, evaluations, and memory.

    cd <ComfyUI> && python <pack>/benchmarks/guidance.py [--gpu] [--steps 8] [--rounds 7] [--parts times ...]

A mini SD1.5 (13.6 M parameters, random weights; written to a temporary folder) in the host's KSampler, euler, cfg 5;
for side networks also the transformers of SD3 and Flux, 512 wide and 8 and 9 layers deep (74 M and 53 M).
Times are medians of whole sampling runs, plain and guided in turn (A B A B ...), so that a busy machine slows both.
With one thread (OMP_NUM_THREADS=1) on a CPU it is the processor's time that is taken, which others do not lengthen.
"""

import argparse
import logging
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import accumulate, count, islice
from pathlib import Path
from statistics import median
from unittest.mock import patch

PACK = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path.cwd()), str(PACK / "tests" / "host")]

import host_process
from mini_models import MiniModels, trained
from probe_nodes import NODES
from result_file import add_json_option, save
from scenes import EMPTY, OTHER, build
from side_scenes import load, side_network
from watchers import watch_evaluations

SIZES = (8, 16, 32)
SIDES = (("sd15", 16), ("sd15", 32), ("sd3_deep", 32), ("flux_deep", 32))  # network, side of the latent
TITLES = {"sd15": "", "sd3_deep": ", SD3's transformer", "flux_deep": ", Flux's transformer"}
MEMORY_SIZE = 32  # of the latent in the memory table
MEGABYTE = 1e6


def main():
    options, started = _options(), time.monotonic()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        host, minis = _host(Path(folder), options.gpu)
        ratios = {}
        for part in options.parts:
            ratios |= PARTS[part](host, minis, options)
    save(options.json, "guidance", ratios, started=started, gpu=options.gpu, threads=_threads())


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="run on the GPU instead of the CPU")
    parser.add_argument("--steps", type=int, default=8, help="sampling steps per run")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each kind, of which the median counts")
    parser.add_argument("--parts", choices=tuple(PARTS), nargs="+", default=tuple(PARTS), help="what is measured")
    # No seed comes twice, because the host keeps the result of a graph that it has already run.
    parser.set_defaults(seeds=count(1000))
    add_json_option(parser)
    return parser.parse_args()


def _threads():
    import torch

    return torch.get_num_threads()


def _host(folder, gpu):
    host_nodes = host_process.start(host_process.make_base_directory(folder), cpu=not gpu)
    host_nodes.NODE_CLASS_MAPPINGS.update(NODES)
    host = host_process.Host(host_process.load_pack(PACK))
    domain_file, fingerprint = (
        host.library(f"domain_guidance.domains.{name}") for name in ("domain_file", "fingerprint")
    )
    return host, MiniModels(folder / "models", domain_file, fingerprint.fingerprint)


@contextmanager
def _sampling_time():
    """Seconds inside of the host's CFGGuider.sample: loading, planning and the loop, without the graph around it."""
    import comfy.model_management
    import comfy.samplers
    import torch

    seconds = []
    alone = comfy.model_management.get_torch_device().type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    original = comfy.samplers.CFGGuider.sample

    def timed(self, *args, **kwargs):
        started = clock()
        try:
            return original(self, *args, **kwargs)
        finally:
            if comfy.model_management.get_torch_device().type == "cuda":
                torch.cuda.synchronize()
            seconds.append(clock() - started)

    with patch.object(comfy.samplers.CFGGuider, "sample", timed):
        yield seconds


def _print_times(host, minis, options):
    ratios = {}
    print(
        f"{'latent':>7} {'negative':>9} {'plain ms/step':>14} {'guided ms/step':>15} {'ratio':>6} {'evaluations':>12}"
    )
    for size in SIZES:
        for negative in (EMPTY, OTHER):
            s = build(minis, negative=negative, size=(size, size))
            guided = s.guide(s.model, s.load_domain(minis.domain(change=trained)))
            plain_ms, guided_ms = _interleaved(host, s, (s.model, guided), options)
            counts = [_evaluations(host, s, model, options.steps) for model in (s.model, guided)]
            name = "empty" if negative == EMPTY else "other"
            print(
                f"{size:>4}x{size:<2} {name:>9} {plain_ms:>14.1f} {guided_ms:>15.1f} {guided_ms / plain_ms:>6.2f} "
                f"{counts[0]:>6g} -> {counts[1]:g}"
            )
            setting = f"{size}x{size} latent, {name} negative prompt"
            ratios |= {
                f"time a step, {setting}": guided_ms / plain_ms,
                f"evaluations, {setting}": counts[1] / counts[0],
            }
    return ratios


def _print_side_networks(host, minis, options):
    """One and three side networks beside a whole domain, which is also held every second step, over the plain model."""
    ratios = {}
    print(f"\n{'network':>9} {'latent':>7} {'guided by':>22} {'cfg':>4} {'ms/step':>8} {'ratio':>6}")
    for family, size in SIDES:
        s = build(minis, family, size=(size, size))
        side = [load(s, side_network(host, minis, family, seed=seed, size=size)) for seed in (1, 2, 3)]
        three = s.guide(s.guide(s.guide(s.model, side[0]), side[1]), side[2])
        domain = s.load_domain(minis.domain(family, change=trained))
        whole, halved = s.guide(s.model, domain), s.guide(s.model, domain, every=2)
        one = s.guide(s.model, side[0])
        large = {"a whole domain": whole, "a whole domain, every 2": halved}
        for cfg, models in (
            (5.0, {"nothing": s.model, "a side network": one, "three side networks": three, **large}),
            (1.0, {"nothing": s.model, "a side network": one, **large}),
        ):
            plain, *guided = _interleaved(host, s, models.values(), options, cfg=cfg)
            for name, taken in zip(models, (plain, *guided)):
                print(f"{family:>9} {size:>4}x{size:<2} {name:>22} {cfg:>4g} {taken:>8.1f} {taken / plain:>6.2f}")
                if name != "nothing":
                    ratios[f"time a step, {size}x{size} latent, cfg {cfg:g}, {name}{TITLES[family]}"] = taken / plain
    return ratios


def _interleaved(host, s, models, options, **sampling):
    """Median milliseconds per step of each model's runs, taken in turn; the first round only warms up."""
    times = [[] for _ in models]
    for seed in islice(options.seeds, options.rounds + 1):
        for model, taken in zip(models, times):
            with _sampling_time() as seconds:
                host.samples(s.graph, s.sample(model, steps=options.steps, seed=seed, **sampling))
            taken.append(1000 * sum(seconds) / options.steps)
    return [median(taken[1:]) for taken in times]


def _evaluations(host, s, model, steps):
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(model, steps=steps, seed=999))
    return seen.elements(1, steps)


def _print_memory(host, minis, options):
    gpu = options.gpu
    s = build(minis, size=(MEMORY_SIZE, MEMORY_SIZE))
    adapter = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=minis.lora(), strength_model=1.0)
    second = s.load_domain(minis.domain(change=trained))
    models = {
        "none (plain)": s.model,
        "adapter, same weights": s.guide(s.model, adapter, domain_conditioning=s.prompt(EMPTY)),
        "side network": s.guide(s.model, load(s, side_network(host, minis, size=MEMORY_SIZE))),
        "second UNet": s.guide(s.model, second),
    }
    print(f"\n{'domain':>24} {'weights held, MB':>17} {'peak, MB':>9} {'over plain':>11}")
    plain, ratios = None, {}
    for name, model in models.items():
        held = _weights_held(host, s, model)
        peak = _cuda_peak(host, s, model) if gpu else held + _allocated(host, s, model)
        plain = plain or peak
        print(f"{name:>24} {held / MEGABYTE:>17.1f} {peak / MEGABYTE:>9.1f} {100 * (peak / plain - 1):>+10.1f}%")
        if model != s.model:
            ratios[f"peak memory, {MEMORY_SIZE}x{MEMORY_SIZE} latent, {name}"] = peak / plain
    return ratios


def _weights_held(host, s, model):
    """Bytes of every distinct weight of the models that a run evaluated, and of the adapters beside them."""
    import torch

    patched = host.value(s.graph, model)
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(model, seed=2000))
    patchers = [patched, *patched.get_nested_additional_models()]
    tensors = [
        tensor
        for network in {id(network): network for network, _ in seen}.values()
        for tensor in network.state_dict().values()
    ]
    adapters = [term.model.patcher for patcher in patchers for term in _terms(patcher) if term.model is not None]
    for patcher in {id(patcher): patcher for patcher in patchers + adapters}.values():
        for patches in patcher.patches.values():
            tensors += [
                part for patch in patches for part in getattr(patch[1], "weights", ()) if isinstance(part, torch.Tensor)
            ]
    sides = [term.side.file.network for patcher in patchers for term in _terms(patcher) if hasattr(term, "side")]
    tensors += [parameter for network in sides for parameter in network.parameters()]
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def _terms(patcher):
    return patcher.get_attachment("domain_guidance") or ()


def _allocated(host, s, model):
    """The largest number of bytes that a run on the CPU has in use at any moment, beside the weights."""
    import torch

    run = s.sample(model, seed=2001)
    host.samples(s.graph, s.sample(model, seed=2002))  # loads what is not loaded yet
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        host.samples(s.graph, run)
    changes = sorted(
        (event.start_ns(), event.nbytes())
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]"
    )
    in_use = list(accumulate((size for _, size in changes), initial=0))
    # Above the least so far: what earlier runs left behind may be freed in this one.
    return max(now - least for now, least in zip(in_use, accumulate(in_use, min)))


def _cuda_peak(host, s, model):
    import comfy.model_management
    import torch

    comfy.model_management.unload_all_models()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    host.samples(s.graph, s.sample(model, seed=2001))
    return torch.cuda.max_memory_allocated()


PARTS = {"times": _print_times, "side networks": _print_side_networks, "memory": _print_memory}

if __name__ == "__main__":
    main()
