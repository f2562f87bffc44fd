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

import host_process
from mini_models import MiniModels
from probe_nodes import NODES
from training_scenes import register


def pytest_configure(config):
    if not (Path.cwd() / "comfy" / "model_patcher.py").exists():
        raise pytest.UsageError(f"the GPU tests run in a ComfyUI's root, not in {Path.cwd()}: use 'python run.py test'")
    if not torch.cuda.is_available():
        raise pytest.UsageError("the GPU tests need a CUDA device, and torch sees none: run them where there is one")


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory):
    base = host_process.make_base_directory(tmp_path_factory.mktemp("comfyui"))
    host_process.install_pack(base)
    return base


@pytest.fixture(scope="session")
def host(base_directory):
    host_nodes = host_process.start(base_directory, cpu=False)
    pack = host_process.load_pack(base_directory / "custom_nodes" / "domain-guidance")
    host_nodes.NODE_CLASS_MAPPINGS.update(NODES)
    register(base_directory)
    return host_process.Host(pack)


@pytest.fixture(scope="session")
def minis(host, base_directory):
    return MiniModels(
        base_directory / "models",
        host.library("domain_guidance.domains.domain_file"),
        host.library("domain_guidance.domains.fingerprint").fingerprint,
    )
