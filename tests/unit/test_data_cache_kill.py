"""A process that is killed while it encodes leaves nothing behind that the next one stumbles over.

Run as a program, this file encodes: it imports everything once and forks a child for every trial, so that kills are
cheap.
"""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from domain_guidance.data import Encoded, FolderImages, LatentCache, Size

IMAGES, TRIALS = 250, 20
KERNEL = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) / 8


def encode(pixels):
    mean = torch.nn.functional.conv2d(pixels, KERNEL, stride=8)
    return mean, mean - 1


def cache(images, folder, encode=encode):
    return LatentCache(folder, FolderImages(images), encode, vae="v", bucket_of=Size._make)


def write_images(folder):
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(IMAGES):
        shape = (32 + 8 * (number % 3), 64, 3)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number:03}.bmp")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the trials fork")
def test_after_kills_at_random_points_every_entry_is_whole_and_the_rest_is_made(tmp_path):
    write_images(tmp_path / "images")
    list(cache(tmp_path / "images", tmp_path / "calm").fill(3))
    calm = cache(tmp_path / "images", tmp_path / "calm").open()

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(tmp_path / "images"), str(tmp_path / "killed")]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    counts = json.loads(answer.stdout.splitlines()[-1])
    assert len(counts) == TRIALS and counts == sorted(counts)
    assert len(set(counts)) > 8 and counts[-1] < IMAGES, "the kills must fall into the work, not before or after it"

    shown = []
    survivor = cache(
        tmp_path / "images", tmp_path / "killed", lambda pixels: shown.append(len(pixels)) or encode(pixels)
    )
    events = list(survivor.fill(3))
    assert events[0] == Encoded(counts[-1], IMAGES, 0) and sum(shown) == 2 * (IMAGES - counts[-1])
    latents = survivor.open()
    assert latents.images == calm.images
    for position in range(IMAGES):
        for mirrored in (False, True):
            assert all(
                torch.equal(one, other)
                for one, other in zip(latents.read(position, mirrored), calm.read(position, mirrored))
            )


def killed_once(images, folder, chance):
    """Fork a child that encodes, kill it a few events and a moment later; then look at every entry it left."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        for event, _ in enumerate(cache(images, folder).fill(3)):
            os.write(writer, b".")
            if event == 4:  # a slow parent must not let one child do the work of all
                signal.pause()
    os.close(writer)
    for _ in range(chance.randint(1, 3)):
        os.read(reader, 1)
    for _ in range(chance.randint(0, 20_000)):  # a moment without a clock, somewhere within the next batch
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    return len([check(path) for path in folder.rglob("*.safetensors")])


def check(path):
    with safe_open(path, framework="pt") as file:
        sides = [(file.get_tensor(f"{side}.mean"), file.get_tensor(f"{side}.logvar")) for side in ("image", "mirror")]
    assert all(torch.allclose(mean - 1, logvar, atol=0.01) for mean, logvar in sides), path


if __name__ == "__main__":
    chance = random.Random(0)
    sys.stdout.write(
        json.dumps([killed_once(Path(sys.argv[1]), Path(sys.argv[2]), chance) for _ in range(TRIALS)]) + "\n"
    )
