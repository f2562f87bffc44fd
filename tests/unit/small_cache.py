"""A latent cache of nine small pictures, behind a VAE of one layer."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from domain_guidance.data import FolderImages, LatentCache, aspect_buckets

CELL = 4
BUCKETS = aspect_buckets(16, step=4)
KERNEL = torch.randn(2, 3, CELL, CELL, generator=torch.Generator().manual_seed(0)) / 8


def encode(pixels):
    """A VAE of one layer, which like a real one does not commute with mirroring."""
    mean = torch.nn.functional.conv2d(pixels, KERNEL, stride=CELL)
    return mean, -mean.abs() - 1


class Counted:
    """An encoder that counts the images it is shown."""

    def __init__(self, encode=encode):
        self.images, self.batches, self._encode = 0, [], encode

    def __call__(self, pixels):
        self.images += len(pixels)
        self.batches.append(tuple(pixels.shape))
        return self._encode(pixels)


def picture(seed, width=16, height=16):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Six squares and three of twice the width."""
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for seed in range(6):
        picture(seed).save(tmp_path / "images" / f"{seed}.png")
    for seed in range(6, 9):
        picture(seed, 40, 20).save(tmp_path / "images" / "sub" / f"{seed}.bmp")
    return tmp_path / "images"


def make(folder, encode=encode, **options):
    source = FolderImages(folder) if isinstance(folder, os.PathLike) else folder
    options = {"cache": "cache", "vae": "a", "bucket_of": BUCKETS, "cell": CELL, **options}
    where = options.pop("cache")
    where = folder.parent / where if isinstance(folder, os.PathLike) else where
    return LatentCache(where, source, encode, **options)


def filled(folder, encode=encode, batch_size=4, **options):
    cache = make(folder, encode, **options)
    events = list(cache.fill(batch_size))
    return cache, events


def entries(folder):
    return sorted((folder.parent / "cache").rglob("*.safetensors"))
