"""Fixtures of the host tests: one ComfyUI in this process and, where a test asks for it, one real server.

Run from the host's root, so that its modules are importable and the pack's `nodes` folder cannot shadow the host's
`nodes.py`: `python -m pytest <pack>/tests/host --import-mode=importlib -c <pack>/tests/pytest.ini` (`run.py test` does
this).
"""

import shutil
import sys
from pathlib import Path

import pytest

# The helper modules of this folder; the pack's root must not be added.
sys.path.append(str(Path(__file__).parent))

from real_server import real_server
from started import base_with_pack, small_models, started_host


def pytest_configure(config):
    if not (Path.cwd() / "comfy" / "model_patcher.py").exists():
        raise pytest.UsageError(
            f"the host tests run in a ComfyUI's root, not in {Path.cwd()}: use 'python run.py test' "
            "with COMFYUI_PATH set to an installation"
        )


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory):
    """A base directory with the pack linked into custom_nodes, shared by the in-process host and the server."""
    return base_with_pack(tmp_path_factory.mktemp("comfyui"))


@pytest.fixture(scope="module", autouse=True)
def empty_output(base_directory):
    """Nothing in output outlives its file of tests: together they would write more than some machines have free."""
    yield
    for path in (base_directory / "output").iterdir():
        if not path.is_dir():
            path.unlink()
            continue
        shutil.rmtree(path)
        path.mkdir()  # the host has it in a list of places to look at


@pytest.fixture(scope="session")
def host(base_directory):
    return started_host(base_directory)


@pytest.fixture(scope="session")
def minis(host, base_directory):
    return small_models(host, base_directory)


@pytest.fixture(scope="session")
def server(minis, base_directory, tmp_path_factory):
    """The real server, started once for the session."""
    with real_server(base_directory, tmp_path_factory.mktemp("server") / "log.txt") as running:
        yield running
