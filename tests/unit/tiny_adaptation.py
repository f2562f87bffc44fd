"""A whole adaptation that takes milliseconds a step: a generator of 16 px, and a critic that is a formula."""

import sys
from contextlib import closing
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2]))

from domain_guidance.adaptation import AdaptationSettings, AdaptedPair, adapt_generator
from domain_guidance.diffusion.noise_schedule import scaled_linear
from domain_guidance.distillation import Distillation
from domain_guidance.generators import Generator, GeneratorCard, GeneratorConfig, GeneratorFile, Origin
from domain_guidance.runs import RunFiles

CONFIG = GeneratorConfig(16, (6, 6, 4), z_dim=5, w_dim=6, mapping_layers=2)


def tiny_file(seed=0, config=CONFIG):
    torch.manual_seed(seed)
    weights = {name: tensor.detach().clone() for name, tensor in Generator(config).state_dict().items()}
    return GeneratorFile(GeneratorCard(config, Origin("tiny.pkl", "0" * 64, "made for a test")), weights)


class GaussianCritic:
    """The exact denoiser of pictures that are all near one: normal around `target` with a deviation of 0.3, and pixels
    for latents.
    """

    prediction, schedule, device = "epsilon", scaled_linear(), torch.device("cpu")

    def __init__(self, target=(0.6, -0.4, 0.1), spread=0.3):
        self.target, self.spread = torch.tensor(target).reshape(1, 3, 1, 1), spread
        self.identity = {"model": "gaussian", "prompt": str(target)}
        self.asked, self.encoded = [], []

    def denoise(self, noisy, sigma):
        assert not torch.is_grad_enabled()
        self.asked.append(len(noisy))
        s, kept = sigma.reshape(-1, 1, 1, 1) ** 2, self.spread**2
        return (kept * noisy + s * self.target) / (kept + s)

    def encode(self, pixels):
        self.encoded.append(len(pixels))
        return nn.functional.avg_pool2d(pixels, 2)


def tiny_settings(**changed):
    score = {name: changed.pop(name) for name in list(changed) if name in Distillation.__dataclass_fields__}
    values = {
        "steps": 8,
        "learning_rate": 2e-3,
        "checkpoint_every": 3,
        "distillation": Distillation(**{"resolution": 16, **score}),
    }
    return AdaptationSettings(**{**values, **changed})


def started(folder, critic=None, pair=None, process=None, perceptual=None, perceptual_weight=0.0, **changed):
    pair = pair or AdaptedPair(tiny_file(), "cpu")
    settings, files = tiny_settings(perceptual=perceptual_weight, **changed), RunFiles(folder, "run")
    return adapt_generator(pair, critic or GaussianCritic(), settings, files, process, perceptual)


def run_tiny(folder, **options):
    """Adapt to the end; all events."""
    with closing(started(folder, **options)) as events:
        return list(events)
