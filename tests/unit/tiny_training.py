"""A whole training on real pictures that takes milliseconds a step, for tests and for the processes that they kill.

python tiny_training.py FOLDER STEPS [kill_at]      trains in FOLDER; after step `kill_at` it kills itself
"""

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2]))

from domain_guidance.data import BatchImages, LatentCache
from domain_guidance.diffusion.noise_schedule import scaled_linear
from domain_guidance.files.atomic_file import save_tensors
from domain_guidance.runs import RunFiles, Step
from domain_guidance.toy_world.digits import load_digits
from domain_guidance.toy_world.scenes import paint_domain
from domain_guidance.training import RunSettings, train_domain


class TinyNet(nn.Module):
    """A denoiser that knows the noise level; its last layer is one constant, as a text-free net has them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(4, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)
        self.frozen = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, noisy, timestep):
        level = (timestep.float() / 500 - 1).view(-1, 1, 1, 1).expand(-1, 1, *noisy.shape[2:])
        return self.last(nn.functional.silu(self.first(torch.cat([noisy, level], 1)))) * self.frozen


class TinyTrainable:
    prediction, schedule, loss_weight = "epsilon", scaled_linear(), None

    def __init__(self, module=None):
        self.module = module or TinyNet()
        self.identity = {"form": "tiny"}
        self.records = []

    def predict(self, noisy, timestep, conditioning):
        assert conditioning == ("empty", len(noisy), (16, 16))
        return self.module(noisy, timestep)

    def conditioning(self, count, bucket):
        return ("empty", count, bucket)

    def latent_scale(self, latent):
        return latent

    def write(self, path, record):
        self.records.append((Path(path).name, record))
        save_tensors(path, dict(self.module.state_dict()), {})


def pictures(count=40, seed=0):
    painted = paint_domain(load_digits("domain"), count, torch.Generator().manual_seed(seed)).images
    return BatchImages((painted.permute(0, 2, 3, 1) + 1) / 2)


def tiny_latents(folder, count=40, seed=0, source=None):
    """Painted plates as they are, with a posterior that is not a point: the draw of a step matters."""

    def encode(pixels):
        return pixels, torch.full_like(pixels, -4.0)

    source = source or pictures(count, seed)
    cache = LatentCache(Path(folder) / "latents", source, encode, vae="pixels", bucket_of=lambda size: size, cell=1)
    list(cache.fill())
    return cache.open()


def tiny_settings(**changed):
    values = {
        "steps": 20,
        "learning_rate": 1e-2,
        "batch_size": 4,
        "evaluate_every": 5,
        "checkpoint_every": 5,
        "warmup": 3,
    }
    return RunSettings(**{**values, **changed})


def run_tiny(folder, name="run", trainable=None, process=None, **changed):
    """Train to the end; all events."""
    trainable, files = trainable or TinyTrainable(), RunFiles(folder, name)
    with closing(train_domain(trainable, tiny_latents(folder), tiny_settings(**changed), files, process)) as events:
        return list(events)


def train_until_killed(folder, steps, kill_at, **changed):
    torch.set_num_threads(1)
    files = RunFiles(folder, "run")
    for event in train_domain(TinyTrainable(), tiny_latents(folder), tiny_settings(steps=steps, **changed), files):
        if isinstance(event, Step) and event.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    train_until_killed(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
