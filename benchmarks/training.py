"""What training costs beside the usual ways: steps per second and peak memory, in one run.

    python benchmarks/training.py [--gpu] [--resolution 192] [--batch 8] [--rounds 8] [--images 2000] [...]

The models are `miniature.py`'s: UNet, VAE and text encoder of Stable Diffusion 1.5's shape and proportions. All ways
train the same UNet with AdamW and an average of the weights, in fp32:

    everything in the loop   the pattern of the diffusers example: every step reads images and runs VAE and text encoder
    cached, plain loop       latents and the empty prompt are kept in memory, cross-attention on, a loop of ten lines
    empty prompt             this library, cross-attention on
    text-free                this library, constants for cross-attention
    text-free, all kept      the same, but nothing is made again in the backward pass
    text-free, checkpointed  the same with gradient checkpointing of whole blocks
    adapter                  this library's default, a LoRA of rank 16 (needs peft)
    side network             this library, a network of its own beside the base, through which no gradient passes
    adapter, fp8 base        the adapter and the side network once more, with the base's weights stored in 8 bits and
    side network, fp8 base   widened layer by layer as they are used

Times and memory are measured as `side_by_side.py` says. Then the latent cache's start-up, first and second run.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch
from miniature import RESOLUTION, empty_tokens, make_text_encoder, make_unet, make_vae, print_sizes
from PIL import Image
from result_file import add_json_option, save
from side_by_side import median_seconds, peak_bytes, serve
from torch.nn.utils.parametrize import register_parametrization

WAYS = (
    "everything in the loop",
    "cached, plain loop",
    "empty prompt",
    "text-free",
    "text-free, all kept",
    "text-free, checkpointed",
    "adapter",
    "side network",
    "adapter, fp8 base",
    "side network, fp8 base",
)
PAIRS = (  # compared once more, with each other
    ("text-free", "cached, plain loop"),
    ("text-free", "empty prompt"),
    ("side network", "adapter"),
    ("side network, fp8 base", "adapter, fp8 base"),
)
TRAINED_ON = 64  # images of the timed runs
LEARNING_RATE = 1e-5


def main():
    options = _options()
    if options.way:
        serve(partial(STEPS[options.way], options), options.gpu)
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        _write_images(Path(folder) / "images", max(TRAINED_ON, options.images), options.resolution)
        print_sizes(options.resolution)
        ratios = _print_ways(Path(folder), options)
        _print_start_up(Path(folder), options)
    save(options.json, "training", ratios, started=started, gpu=options.gpu)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="run on the GPU instead of the CPU")
    parser.add_argument("--resolution", type=int, default=RESOLUTION, help="pixels of a side")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--rounds", type=int, default=8, help="steps of each way, after two that only warm up")
    parser.add_argument("--images", type=int, default=2000, help="images of the start-up")
    parser.add_argument(
        "--start-up-resolution", type=int, default=128, help="pixels of a side that they are encoded at"
    )
    add_json_option(parser)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- the images ------------------------------------------------------------------------------------------------------


def _write_images(folder, count, resolution):
    """Painted plates with real handwriting, as JPEG files of the wanted size."""
    from domain_guidance.pictures.labelled_grid import to_picture
    from domain_guidance.toy_world.digits import load_digits
    from domain_guidance.toy_world.scenes import paint_domain

    folder.mkdir()
    for number, image in enumerate(paint_domain(load_digits("domain"), count, torch.Generator().manual_seed(0)).images):
        to_picture(image, resolution).save(folder / f"{number:05d}.jpg", quality=92)


# --- the ways: each a generator that makes one step whenever it is asked ----------------------------------------


def in_the_loop(options, device):
    """The diffusers example's pattern: image files, VAE, text encoder and UNet in every step."""
    from torchvision import transforms

    unet, vae, text_encoder = make_unet().to(device), make_vae().to(device), make_text_encoder().to(device)
    prepare = transforms.Compose(
        [
            transforms.Resize(options.resolution),
            transforms.CenterCrop(options.resolution),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
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


def library(form, memory="recomputation", narrow=False):
    def steps(options, device):
        """`train_domain` as the command line calls it, without looking up on the way. memory: what is done to
        save it. narrow: the base is stored in 8 bits.
        """
        from domain_guidance.commands.side_network import side_trainable
        from domain_guidance.diffusers_host.trainable import DiffusersTrainable, add_adapter, base_fingerprint
        from domain_guidance.diffusion.noise_schedule import scaled_linear
        from domain_guidance.domains.prompt import Prompt
        from domain_guidance.memory.recomputation import recomputation
        from domain_guidance.runs import RunFiles, Step
        from domain_guidance.training import RunSettings, train_domain
        from domain_guidance.training.text_removal import take_text_out

        latents = _cache(options.folder, options.resolution, None).open()
        unet, prompt = make_unet().to(device), torch.load(options.folder / "prompt.pt", weights_only=True)
        kept = "empty-prompt" if form == "side-network" else form
        trainable = DiffusersTrainable(unet, scaled_linear(), "epsilon", Prompt(prompt), kept, base_fingerprint(unet))
        if narrow:
            _store_in_8_bits(unet)
        if form == "side-network":
            trainable = side_trainable(trainable, latents, seed=0)
        if form == "text-free":
            some = latents.read(0).mean[None].float().to(device), latents.images[0].bucket
            take_text_out(trainable, [some])
        if form == "adapter":
            add_adapter(unet, rank=16)
        if memory == "blocks":
            unet.enable_gradient_checkpointing()
        recomputed = memory == "recomputation" and form != "side-network"  # which has no backward pass to save for
        saving = recomputation(unet) if recomputed else nullcontext()
        settings = RunSettings(
            steps=10**6,
            batch_size=options.batch,
            learning_rate=LEARNING_RATE,
            evaluate_every=0,
            checkpoint_every=0,
            sample_every=0,
        )
        with saving:
            for event in train_domain(trainable, latents, settings, RunFiles(options.folder, f"{form} {os.getpid()}")):
                if isinstance(event, Step):
                    yield

    return steps


class _Widened(torch.nn.Module):
    """A weight in 8 bits, which is fp32 wherever it is read."""

    def forward(self, narrow):
        return narrow.float()


def _store_in_8_bits(unet):
    """Keep the weights of convolutions and linear layers in 8 bits, frozen."""
    unet.requires_grad_(False)
    for module in [m for m in unet.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]:
        module.weight.data = module.weight.data.to(torch.float8_e4m3fn)
        register_parametrization(module, "weight", _Widened(), unsafe=True)


class _Learner:
    """One training step on clean latents, as every example has it: AdamW, clipping, an average of the weights."""

    def __init__(self, unet):
        from domain_guidance.diffusion.noise_schedule import scaled_linear

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


STEPS = dict(
    zip(
        WAYS,
        (
            in_the_loop,
            cached_plain,
            library("empty-prompt"),
            library("text-free"),
            library("text-free", "nothing"),
            library("text-free", "blocks"),
            library("adapter"),
            library("side-network"),
            library("adapter", narrow=True),
            library("side-network", narrow=True),
        ),
    )
)


# --- measuring -------------------------------------------------------------------------------------------------------


def _print_ways(folder, options):
    _prepare(folder, options)
    words = (
        [f"--{name}={getattr(options, name)}" for name in ("resolution", "batch")]
        + ["--gpu"] * options.gpu
        + [f"--folder={folder}"]
    )
    commands = {way: [__file__, *words, f"--way={way}"] for way in WAYS if "adapter" not in way or find_spec("peft")}
    times, peaks = (
        median_seconds(commands, options.rounds),
        {way: peak_bytes(command) for way, command in commands.items()},
    )
    _print_table(times, peaks)
    return _ratios(times, peaks)


def _print_table(times, peaks):
    first = WAYS[0]
    print(f"\n{'way':>24} {'steps/s':>8} {'speed':>6} {'peak MB':>8} {'memory':>7}")
    for way in times:
        print(
            f"{way:>24} {1 / times[way]:>8.3f} {times[first] / times[way]:>5.2f}x {peaks[way] / 1e6:>8.0f} "
            f"{peaks[way] / peaks[first]:>6.2f}x"
        )
    for way, beside in _pairs(times):
        print(
            f"{way} beside {beside}: {times[beside] / times[way]:.2f}x the speed, "
            f"{peaks[way] / peaks[beside]:.2f}x the memory"
        )


def _pairs(times):
    return [pair for pair in PAIRS if all(way in times for way in pair)]


def _ratios(times, peaks):
    pairs = [(way, WAYS[0]) for way in times if way != WAYS[0]] + _pairs(times)
    speeds = {f"steps/s, {way} over {beside}": times[beside] / times[way] for way, beside in pairs}
    return speeds | {f"peak memory, {way} over {beside}": peaks[way] / peaks[beside] for way, beside in pairs}


def _prepare(folder, options):
    """What all ways share: the filled cache, the same posteriors as one file, and the empty prompt."""
    small = folder / "images"
    (folder / "rest").mkdir()
    for path in sorted(small.iterdir())[TRAINED_ON:]:
        path.rename(folder / "rest" / path.name)
    list(_cache(folder, options.resolution, make_vae()).fill())
    latents = _cache(folder, options.resolution, None).open()
    posteriors = [latents.read(place) for place in range(len(latents))]
    torch.save(
        tuple(torch.stack([getattr(p, part).float() for p in posteriors]) for part in ("mean", "logvar")),
        folder / "posteriors.pt",
    )
    with torch.no_grad():
        torch.save(make_text_encoder()(empty_tokens(1)).last_hidden_state, folder / "prompt.pt")


def _cache(folder, resolution, vae, images="images", store="latents"):
    from domain_guidance.data import FolderImages, LatentCache, shorter_side

    def encode(pixels):
        posterior = vae.encode(pixels).latent_dist
        return posterior.mean, posterior.logvar

    return LatentCache(
        folder / store, FolderImages(folder / images), encode, vae="benchmark", bucket_of=shorter_side(resolution)
    )


def _print_start_up(folder, options):
    for path in (folder / "images").iterdir():
        path.rename(folder / "rest" / path.name)
    count, vae = len(list((folder / "rest").iterdir())), make_vae()
    print(
        f"\nstart-up with {count} images encoded at {options.start_up_resolution} pixels, latents of each and "
        "of its mirror:"
    )
    for run in ("first", "second"):
        started = time.perf_counter()
        cache = _cache(folder, options.start_up_resolution, vae, "rest", "all latents")
        list(cache.fill())
        latents = cache.open()
        print(f"{run:>8} run: {time.perf_counter() - started:8.2f} s, {latents.bytes_per_image / 1000:.0f} kB an image")


if __name__ == "__main__":
    main()
