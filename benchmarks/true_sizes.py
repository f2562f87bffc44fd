"""Networks of true size: loaded, guided and trained, and whether Train Domain says beforehand what it will take.

    cd <ComfyUI> && python <pack>/benchmarks/true_sizes.py [--only "SD 1.5" ...]     half an hour on a CPU

SD 1.5 and SDXL in half precision, and a Lumina 2 of 2.1 billion parameters in bf16, with random weights, each in a
process of its own on the CPU: the host's loader, one step of training an adapter of rank 16 on three photographs at
512 px, one guided step at 512 px. Measured is the peak of private memory beyond the loaded base; pages of a file
are not private, for Linux lets go of them. What the node says is for the device that trains: on a CPU the base
stays beside it.
"""

import argparse
import logging
import os
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path.cwd()), str(PACK / "tests" / "host"), str(PACK)]

import host_process
import torch
from apart import apart
from loading import SD15, SDXL
from resident import resident
from result_file import add_json_option, save
from safetensors.torch import save_file

LUMINA = {
    "patch_size": 2,
    "in_channels": 16,
    "dim": 2304,
    "cap_feat_dim": 2304,
    "n_layers": 20,
    "n_refiner_layers": 2,
    "qk_norm": True,
    "n_heads": 24,
    "n_kv_heads": 8,
    "axes_dims": [32, 32, 32],
    "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 4.0,
    "multiple_of": 256,
}
# What the network is, the type that it is kept in, channels of a latent, and width of its text.
NETWORKS = {
    "SD 1.5": (SD15, torch.float16, 4, 768),
    "Lumina 2": (LUMINA, torch.bfloat16, 16, 2304),
    "SDXL": (SDXL, torch.float16, 4, 2048),
}
SIDE, TOKENS, GIB = 512, 8, 2**30


def main():
    options, started, ratios = _options(), time.monotonic(), {}
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # glibc gives every larger block back when it is freed
    titles = ("parameters", "base", "said", "peak", "ratio", "training", "guided step")
    print(" " * 9, *titles, "   (GiB)")
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "base.safetensors"
            parameters = apart(write, path, name)
            base, said, peak, trained, guided = apart(measure, path, name)
        print(
            f"{name:<9} {parameters / 1e9:8.2f} B {base / GIB:6.2f} {said / GIB:6.2f} {peak / GIB:6.2f} "
            f"{peak / said:6.3f} {trained:7.0f} s {guided:9.0f} s",
            flush=True,
        )
        ratios[f"peak of training an adapter over what Train Domain says, {name}"] = peak / said
    save(options.json, "true_sizes", ratios, started=started, threads=torch.get_num_threads())


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=NETWORKS, default=tuple(NETWORKS), metavar="NAME", help=", ".join(NETWORKS)
    )
    add_json_option(parser)
    return parser.parse_args()


def _start(folder, dtype):
    from comfy.cli_args import args

    args.bf16_unet, args.fp16_unet = dtype == torch.bfloat16, dtype == torch.float16
    host_process.start(host_process.make_base_directory(Path(folder)))


def write(path, name):
    """A file of random weights; how many there are."""
    with tempfile.TemporaryDirectory() as folder:
        config, dtype, *_ = NETWORKS[name]
        _start(folder, dtype)
        import comfy.ops
        from comfy.ldm.lumina.model import NextDiT
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

        kind = NextDiT if name == "Lumina 2" else UNetModel
        network = kind(**config, dtype=dtype, device="meta", operations=comfy.ops.disable_weight_init)
        torch.manual_seed(0)
        weights = {key: _random(key, tensor) for key, tensor in network.state_dict().items()}
        save_file(weights, path)
        return sum(tensor.numel() for tensor in weights.values())


def _random(key, like):
    tensor = torch.empty(like.shape, dtype=like.dtype)
    if like.dim() < 2:
        return tensor.fill_(1.0 if key.endswith("weight") else 0.0)
    return tensor.uniform_(-1, 1).mul_(like[0].numel() ** -0.5)


def measure(path, name):
    """Bytes of the base, bytes that the node says and that training takes at its peak, seconds of training and of a
    guided step.
    """
    _, dtype, channels, width = NETWORKS[name]
    with tempfile.TemporaryDirectory() as folder:
        logging.disable(logging.WARNING)
        _start(folder, dtype)
        import comfy.sd

        pack = host_process.Host(host_process.load_pack(PACK))
        vae, empty = _vae(channels), _prompt(width, name)
        start = private()
        base = comfy.sd.load_diffusion_model(str(path))
        loaded, started = private(), time.monotonic()
        with _highest() as peak:
            trained, said = _trained(pack, base, vae, empty)
        seconds = time.monotonic() - started
        started = time.monotonic()
        drawn = _guided(pack, base, trained, empty, channels)
        assert torch.isfinite(drawn).all() and drawn.std() > 0
        return loaded - start, said, peak[0] - loaded, seconds, time.monotonic() - started


def private():
    return resident("RssAnon")


@contextmanager
def _highest():
    """[bytes of private memory at its peak], looked at every hundredth of a second."""
    found, ended = [private()], threading.Event()

    def watch():
        while not ended.wait(0.01):
            found[0] = max(found[0], private())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _vae(channels):
    import comfy.sd
    from comfy.taesd.taesd import TAESD
    from mini_models import _random_like

    state = _random_like(TAESD(latent_channels=channels).state_dict(), 11)
    scale = {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    return comfy.sd.VAE(sd=state | scale, metadata={"tae_latent_channels": channels})


def _prompt(width, name):
    beside = {"pooled_output": torch.randn(1, 1280)} if name == "SDXL" else {}
    if name == "Lumina 2":
        beside = {"attention_mask": torch.ones(1, TOKENS, dtype=torch.long)}
    return [[torch.randn(1, TOKENS, width), beside]]


def _photographs():
    from sklearn.datasets import load_sample_image

    picture = torch.from_numpy(load_sample_image("flower.jpg") / 255).float()[:420, :420].movedim(-1, 0)[None]
    picture = torch.nn.functional.interpolate(picture, (SIDE, SIDE), mode="bilinear")[0].movedim(0, -1)
    return torch.stack([picture, picture.flip(1), picture.flip(0)])


def _trained(pack, base, vae, empty):
    """The domain MODEL after one step of an adapter, and the bytes that the node said."""
    train, progress = (pack.library(f"nodes.comfy_host.training.{name}") for name in ("train", "progress"))
    runs, said = pack.library("domain_guidance.runs"), []

    class Listening(progress.TrainingProgress):
        def hear(self, event):
            if isinstance(event, runs.Prepared):
                said.append(event.memory.total)
            super().hear(event)

    settings = pack.library("domain_guidance.training").RunSettings(
        steps=1, learning_rate=1e-4, batch_size=1, sample_every=0, evaluate_every=0, checkpoint_every=0
    )
    prompt = pack.library("nodes.comfy_host.domains.empty_prompt").empty_prompt(None, empty)
    images = pack.library("domain_guidance.data").BatchImages(_photographs())
    request = train.TrainRequest("adapter", 16, SIDE, "true size", "new version", True, settings)
    result = train.train_in_host(base, vae, prompt, images, request, Listening(lambda line, slot="": None))
    return result.model, said[0]


def _guided(pack, base, domain, empty, channels):
    import comfy.sample

    apply = pack.library("nodes.comfy_host.guidance.apply").apply_domain
    guided = apply(base, domain, 1.5, domain_conditioning=empty)
    latent = torch.zeros(1, channels, SIDE // 8, SIDE // 8)
    [[embedding, beside]] = empty
    positive = [[torch.randn_like(embedding), beside]]
    noise = comfy.sample.prepare_noise(latent, 5)
    with torch.inference_mode():
        return comfy.sample.sample(
            guided, noise, 1, 3.0, "euler", "simple", positive, empty, latent, disable_pbar=True, seed=5
        )


if __name__ == "__main__":
    main()
