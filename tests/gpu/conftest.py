"""Fixtures of the GPU tests: the host of `tests/host`, on the device that it finds.

Run from the host's root: `python -m pytest <pack>/tests/gpu -c <pack>/tests/pytest.ini`; `run.py test` does this where
torch sees a CUDA device.
"""

import sys
from pathlib import Path

import pytest
import torch

# The helper modules of the host tests; the pack's root must not be added.
sys.path.append(str(Path(__file__).parents[1] / "host"))

from started import base_with_pack, small_models, started_host
from training_scenes import register


def pytest_configure(config):
    if not (Path.cwd() / "comfy" / "model_patcher.py").exists():
        raise pytest.UsageError(f"the GPU tests run in a ComfyUI's root, not in {Path.cwd()}: use 'python run.py test'")
    if not torch.cuda.is_available():
        raise pytest.UsageError("the GPU tests need a CUDA device, and torch sees none: run them where there is one")


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory):
    return base_with_pack(tmp_path_factory.mktemp("comfyui"))


@pytest.fixture(scope="session")
def host(base_directory):
    host = started_host(base_directory, cpu=False)
    register(base_directory)
    return host


@pytest.fixture(scope="session")
def minis(host, base_directory):
    return small_models(host, base_directory)
