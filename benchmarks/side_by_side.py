"""Ways of doing the same, each in a process of its own, that step in turn: a busy machine slows all of them.

The process of a way calls `serve`; whoever compares them calls `median_seconds` and `peak_bytes` with the ways' command
lines. Seconds are on a CPU the processor's own on one thread, which other programs leave nearly alone, on a GPU those
of the clock. Memory is the peak beyond what the process took before it made a model: of the allocator on a GPU; on a
CPU of the resident set, in a process that gives every freed block back to the system and has run `miniature.py`'s UNet
and VAE once, so that the code of kernels, which is compiled in use, counts for no way.
"""

import gc
import json
import logging
import os
import subprocess
import sys
import time
from statistics import median

import torch
from miniature import PROMPT_WIDTH, RESOLUTION, TOKENS, make_unet, make_vae
from resident import forget_peak, resident


def serve(make_steps, gpu):
    """One step of `make_steps(device)` for every line of input; answers with its seconds and the peak of memory
    so far.
    """
    _import_all()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    _compile_kernels()
    before = resident()
    steps = make_steps(torch.device("cuda" if gpu else "cpu"))
    clock = time.perf_counter if gpu else time.process_time
    for _ in sys.stdin:
        started = clock()
        next(steps)
        if gpu:
            torch.cuda.synchronize()
        seconds = clock() - started
        peak = torch.cuda.max_memory_allocated() if gpu else resident("VmHWM") - before
        print(json.dumps([seconds, peak]), flush=True)
    os._exit(0)  # a library run would save its state now


def median_seconds(commands, rounds):
    """Of a step of every way; they step in turn. commands: a command line for each."""
    processes, seconds = {way: _started(command) for way, command in commands.items()}, {way: [] for way in commands}
    for _ in range(rounds + 2):  # two that only warm up
        for way, process in processes.items():
            seconds[way].append(_ask(process)[0])
    for process in processes.values():
        _end(process)
    return {way: median(taken[2:]) for way, taken in seconds.items()}


def peak_bytes(command):
    """At the peak of three steps.

    On a CPU glibc is told to map every larger block by itself, and to unmap it when freed.
    """
    process = _started(command, {"MALLOC_MMAP_THRESHOLD_": "65536"})
    peak = [_ask(process)[1] for _ in range(3)][-1]
    _end(process)
    return peak


def _import_all():
    """What any way imports, so that it counts in none."""
    import diffusers  # noqa: F401
    import torchvision  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel  # noqa: F401

    import domain_guidance.generators
    import domain_guidance.training  # noqa: F401


def _compile_kernels():
    unet, vae = make_unet(), make_vae()
    pixels = torch.randn(1, 3, RESOLUTION, RESOLUTION, requires_grad=True)
    latent = vae.encode(pixels).latent_dist.mode()
    unet(latent, torch.zeros(1), torch.zeros(1, TOKENS, PROMPT_WIDTH)).sample.sum().backward()
    del unet, vae, pixels, latent
    gc.collect()
    forget_peak()


def _started(command, environment=None):
    words = [sys.executable, *map(str, command)]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )


def _ask(process):
    """Let it make one step; its seconds, and the peak of memory so far in bytes."""
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def _end(process):
    process.stdin.close()
    process.wait()
