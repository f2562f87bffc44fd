"""What training costs beside the usual ways: steps per second and peak memory, in one run.

    python benchmarks/training.py [--gpu] [--resolution 192] [--batch 8] [--rounds 8] [--images 2000] [...]

A UNet, VAE and text encoder of Stable Diffusion 1.5's shape with random weights, at an eighth of its width: an eighth of the
channels, of the heads (of the same size) and of the groups of a norm, and, at the default resolution, a seventh of the image
tokens and of the prompt's. So parts and their work stand as there at 512 pixels, the share of attention included: parameters
860 : 84 : 123, operations of a forward pass 1 : 1.39 : 0.017. Both are counted and printed. All ways train the same UNet with
AdamW and an average of the weights, in fp32:

    everything in the loop   the pattern of the diffusers example: every step reads images and runs VAE and text encoder
    cached, plain loop       latents and the empty prompt are kept in memory, cross-attention on, a loop of ten lines
    empty prompt             this library, cross-attention on
    text-free                this library, constants for cross-attention
    text-free, all kept      the same, but nothing is made again in the backward pass
    text-free, checkpointed  the same with gradient checkpointing of whole blocks
    adapter                  this library's default, a LoRA of rank 16 (needs peft)

Each way lives in a process of its own, and they step in turn. Times are medians of steps: on a CPU the processor's own
seconds on one thread, which a busy machine leaves nearly alone, on a GPU those of the clock.
Memory is the peak beyond what the process took before it made a model: of the allocator on a GPU; on a CPU of the resident
set, in a second process that gives every freed block back to the system. Then the latent cache's start-up, first and second
run.
"""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from statistics import median

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

WAYS = (
    "everything in the loop", "cached, plain loop", "empty prompt", "text-free", "text-free, all kept", "text-free, checkpointed", "adapter",
)
TRAINED_ON = 64  # images of the timed runs
LEARNING_RATE = 1e-5
TOKENS, PROMPT_WIDTH = 11, 96
UNET = {
    "sample_size": 24,
    "block_out_channels": (40, 80, 160, 160),
    "cross_attention_dim": PROMPT_WIDTH,
    "attention_head_dim": 1,  # heads, in diffusers' naming: of 40 to 160 channels, as in SD1.5
    "norm_num_groups": 4,
}
VAE = {
    "block_out_channels": (16, 32, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 4,
}
TEXT = {
    "vocab_size": 6176, "hidden_size": PROMPT_WIDTH, "intermediate_size": 4 * PROMPT_WIDTH, "num_hidden_layers": 12,
    "num_attention_heads": 2, "max_position_embeddings": TOKENS, "bos_token_id": 0, "eos_token_id": 1,
}


def main():
    options = _options()
    if options.way:
        _serve(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_images(Path(folder) / "images", max(TRAINED_ON, options.images), options.resolution)
        _print_sizes(options.resolution)
        _print_ways(Path(folder), options)
        _print_start_up(Path(folder), options)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="run on the GPU instead of the CPU")
    parser.add_argument("--resolution", type=int, default=192, help="pixels of a side")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--rounds", type=int, default=8, help="steps of each way, after two that only warm up")
    parser.add_argument("--images", type=int, default=2000, help="images of the start-up")
    parser.add_argument("--start-up-resolution", type=int, default=128, help="pixels of a side that they are encoded at")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- the models and the images ---------------------------------------------------------------------------------------


def make_unet():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(**UNET)


def make_vae():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(**VAE).eval().requires_grad_(False)


def make_text_encoder():
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    return CLIPTextModel(CLIPTextConfig(**TEXT)).eval().requires_grad_(False)


def empty_tokens(batch):
    return torch.ones(batch, TOKENS, dtype=torch.long)


def _write_images(folder, count, resolution):
    """Painted plates with real handwriting, as JPEG files of the wanted size."""
    from domain_guidance.plots import to_picture
    from domain_guidance.toy_world.digits import load_digits
    from domain_guidance.toy_world.scenes import paint_domain

    folder.mkdir()
    for number, image in enumerate(paint_domain(load_digits("domain"), count, torch.Generator().manual_seed(0)).images):
        to_picture(image, resolution).save(folder / f"{number:05d}.jpg", quality=92)


def _print_sizes(resolution):
    with torch.device("meta"):
        _print_shares("SD1.5 at 512 pixels", *_whole_parts(), tokens=77, resolution=512)
        _print_shares(f"here at {resolution} pixels", make_unet(), make_vae(), make_text_encoder(), tokens=TOKENS, resolution=resolution)


def _whole_parts():
    """SD1.5 in its own size."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(**{**VAE, "block_out_channels": (128, 256, 512, 512), "norm_num_groups": 32})
    return unet, vae, CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))


def _print_shares(name, unet, vae, text_encoder, tokens, resolution):
    """Parameters, and operations of the forward passes that a training step makes of one image. Call it with meta tensors."""
    side, width = resolution // 8, unet.config.cross_attention_dim
    operations = [
        _operations(lambda: unet(torch.empty(1, 4, side, side), torch.empty(1, dtype=torch.long), torch.empty(1, tokens, width))),
        _operations(lambda: vae.encode(torch.empty(1, 3, resolution, resolution))),
        _operations(lambda: text_encoder(torch.empty(1, tokens, dtype=torch.long))),
    ]
    sizes = [sum(p.numel() for p in part.parameters()) for part in (unet, vae, text_encoder)]
    shares, of = " : ".join(f"{size / sizes[0] * 860:.0f}" for size in sizes), " : ".join(f"{n / operations[0]:.3g}" for n in operations)
    print(f"{name}: UNet {sizes[0] / 1e6:.2f} M parameters, {operations[0] / 1e9:.2f} GFLOP forward; UNet : VAE encoder : text encoder")
    print(f"    {shares} in parameters (whole VAE), {of} in operations")


def _operations(forward):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward()
    return counter.get_total_flops()


# --- the ways: each a generator that makes one step whenever it is asked ----------------------------------------


def in_the_loop(options, device):
    """The diffusers example's pattern: image files, VAE, text encoder and UNet in every step."""
    from torchvision import transforms

    unet, vae, text_encoder = make_unet().to(device), make_vae().to(device), make_text_encoder().to(device)
    prepare = transforms.Compose([
        transforms.Resize(options.resolution), transforms.CenterCrop(options.resolution), transforms.RandomHorizontalFlip(),
        transforms.ToTensor(), transforms.Normalize([0.5], [0.5]),
    ])
    files, learner = sorted((options.folder / "images").iterdir())[:TRAINED_ON], _Learner(unet)
    while True:
        chosen = [files[i] for i in torch.randint(len(files), (options.batch,)).tolist()]
        pixels = torch.stack([prepare(Image.open(path).convert("RGB")) for path in chosen]).to(device)
        with torch.no_grad():
            latents = vae.encode(pixels).latent_dist.sample() * 0.18215
            prompt = text_encoder(empty_tokens(options.batch).to(device)).last_hidden_state
        learner.step(latents, prompt)
        yield


def cached_plain(options, device):
    """Latents and prompt from memory, and as little as can be around the UNet."""
    unet, learner = make_unet().to(device), None
    means, logvars = torch.load(options.folder / "posteriors.pt", weights_only=True)
    prompt = torch.load(options.folder / "prompt.pt", weights_only=True).to(device).expand(options.batch, -1, -1)
    learner = _Learner(unet)
    while True:
        chosen = torch.randint(len(means), (options.batch,))
        latents = means[chosen] + (logvars[chosen] / 2).exp() * torch.randn_like(means[chosen])
        learner.step(latents.to(device) * 0.18215, prompt)
        yield


def library(form, memory="recomputation"):
    def steps(options, device):
        """`train_domain` as the command line calls it, without looking up on the way. memory: what is done to save it."""
        from domain_guidance.noise_schedule import scaled_linear
        from domain_guidance.training import RunFiles, RunSettings, Step, train_domain
        from domain_guidance.training.diffusers_trainable import DiffusersTrainable, EmptyPrompt, add_adapter, base_fingerprint
        from domain_guidance.training.recomputation import recomputation
        from domain_guidance.training.text_removal import take_text_out

        latents = _cache(options.folder, options.resolution, None).open()
        unet, prompt = make_unet().to(device), torch.load(options.folder / "prompt.pt", weights_only=True)
        trainable = DiffusersTrainable(unet, scaled_linear(), "epsilon", EmptyPrompt(prompt), form, base_fingerprint(unet))
        if form == "text-free":
            some = latents.read(0).mean[None].float().to(device), latents.images[0].bucket
            take_text_out(trainable, [some])
        if form == "adapter":
            add_adapter(unet, rank=16)
        if memory == "blocks":
            unet.enable_gradient_checkpointing()
        saving = recomputation(unet) if memory == "recomputation" else nullcontext()
        settings = RunSettings(
            steps=10**6, batch_size=options.batch, learning_rate=LEARNING_RATE, evaluate_every=0, checkpoint_every=0, sample_every=0
        )
        with saving:
            for event in train_domain(trainable, latents, settings, RunFiles(options.folder, f"{form} {os.getpid()}")):
                if isinstance(event, Step):
                    yield

    return steps


class _Learner:
    """One training step on clean latents, as every example has it: AdamW, clipping, an average of the weights."""

    def __init__(self, unet):
        from domain_guidance.noise_schedule import scaled_linear

        self.unet, self.sigmas, self.count = unet, scaled_linear().sigmas, 0
        self.optimizer = torch.optim.AdamW(unet.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
        self.averages = [p.detach().clone() for p in unet.parameters()]

    def step(self, clean, prompt):
        noise, timestep = torch.randn_like(clean), torch.randint(1000, (len(clean),))
        sigma = self.sigmas[timestep].to(clean).view(-1, 1, 1, 1)
        noisy = (clean + sigma * noise) / (sigma**2 + 1).sqrt()
        output = self.unet(noisy, timestep.to(clean.device), prompt, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(output.float(), noise.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        loss.item()
        self.count += 1
        with torch.no_grad():
            for average, parameter in zip(self.averages, self.unet.parameters()):
                average.lerp_(parameter, (1 + self.count) ** (-2 / 3))


STEPS = dict(zip(WAYS, (
    in_the_loop, cached_plain, library("empty-prompt"), library("text-free"), library("text-free", "nothing"), library("text-free", "blocks"),
    library("adapter"),
)))


# --- measuring -------------------------------------------------------------------------------------------------------


def _serve(options):
    """In a process of its own: one step for every line of input; answers with its seconds and the peak of memory so far."""
    import diffusers  # noqa: F401
    import torchvision  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel  # noqa: F401

    import domain_guidance.training  # noqa: F401

    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    device = torch.device("cuda" if options.gpu else "cpu")
    before = _resident()
    steps = STEPS[options.way](options, device)
    for _ in sys.stdin:
        clock = time.perf_counter if options.gpu else time.process_time
        started = clock()
        next(steps)
        if options.gpu:
            torch.cuda.synchronize()
        seconds = clock() - started
        peak = torch.cuda.max_memory_allocated() if options.gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        print(json.dumps([seconds, peak]), flush=True)
    os._exit(0)  # a library run would save its state now


def _resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _print_ways(folder, options):
    _prepare(folder, options)
    ways = [way for way in WAYS if way != "adapter" or find_spec("peft")]
    times = _times(ways, folder, options)
    _print_table(times, {way: _peak(way, folder, options) for way in ways})


def _times(ways, folder, options):
    """Median seconds a step of every way; they step in turn."""
    processes, seconds = {way: _started(way, folder, options) for way in ways}, {way: [] for way in ways}
    for _ in range(options.rounds + 2):
        for way, process in processes.items():
            seconds[way].append(_ask(process)[0])
    for process in processes.values():
        _end(process)
    return {way: median(taken[2:]) for way, taken in seconds.items()}


def _peak(way, folder, options):
    """Bytes at the peak of three steps. On a CPU glibc is told to map every larger block by itself, and to unmap it when freed."""
    process = _started(way, folder, options, {"MALLOC_MMAP_THRESHOLD_": "65536"})
    peak = [_ask(process)[1] for _ in range(3)][-1]
    _end(process)
    return peak


def _started(way, folder, options, environment=None):
    words = [f"--{name}={getattr(options, name)}" for name in ("resolution", "batch")] + ["--gpu"] * options.gpu
    return subprocess.Popen(
        [sys.executable, __file__, *words, f"--folder={folder}", f"--way={way}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})},
    )


def _ask(process):
    """Let it make one step; its seconds, and the peak of memory so far in bytes."""
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def _end(process):
    process.stdin.close()
    process.wait()


def _print_table(times, peaks):
    first = WAYS[0]
    print(f"\n{'way':>24} {'steps/s':>8} {'speed':>6} {'peak MB':>8} {'memory':>7}")
    for way in times:
        print(f"{way:>24} {1 / times[way]:>8.3f} {times[first] / times[way]:>5.2f}x {peaks[way] / 1e6:>8.0f} {peaks[way] / peaks[first]:>6.2f}x")
    print(f"text-free beside the cached plain loop: {times[WAYS[1]] / times[WAYS[3]]:.2f}x the speed, {peaks[WAYS[3]] / peaks[WAYS[1]]:.2f}x the memory")
    print(f"text-free beside this library's empty prompt: {times[WAYS[2]] / times[WAYS[3]]:.2f}x the speed, {peaks[WAYS[3]] / peaks[WAYS[2]]:.2f}x the memory")


def _prepare(folder, options):
    """What all ways share: the filled cache, the same posteriors as one file, and the empty prompt."""
    small = folder / "images"
    (folder / "rest").mkdir()
    for path in sorted(small.iterdir())[TRAINED_ON:]:
        path.rename(folder / "rest" / path.name)
    list(_cache(folder, options.resolution, make_vae()).fill())
    latents = _cache(folder, options.resolution, None).open()
    posteriors = [latents.read(place) for place in range(len(latents))]
    torch.save(tuple(torch.stack([getattr(p, part).float() for p in posteriors]) for part in ("mean", "logvar")), folder / "posteriors.pt")
    with torch.no_grad():
        torch.save(make_text_encoder()(empty_tokens(1)).last_hidden_state, folder / "prompt.pt")


def _cache(folder, resolution, vae, images="images", store="latents"):
    from domain_guidance.data import FolderImages, LatentCache, shorter_side

    def encode(pixels):
        posterior = vae.encode(pixels).latent_dist
        return posterior.mean, posterior.logvar

    return LatentCache(folder / store, FolderImages(folder / images), encode, vae="benchmark", bucket_of=shorter_side(resolution))


def _print_start_up(folder, options):
    for path in (folder / "images").iterdir():
        path.rename(folder / "rest" / path.name)
    count, vae = len(list((folder / "rest").iterdir())), make_vae()
    print(f"\nstart-up with {count} images encoded at {options.start_up_resolution} pixels, latents of each and of its mirror:")
    for run in ("first", "second"):
        started = time.perf_counter()
        cache = _cache(folder, options.start_up_resolution, vae, "rest", "all latents")
        list(cache.fill())
        latents = cache.open()
        print(f"{run:>8} run: {time.perf_counter() - started:8.2f} s, {latents.bytes_per_image / 1000:.0f} kB an image")


if __name__ == "__main__":
    main()
