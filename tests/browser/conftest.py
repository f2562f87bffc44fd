"""Fixtures of the browser tests: ComfyUI's real server and frontend, and a headless Chromium.

Run from the host's root: `python -m pytest <pack>/tests/browser -c <pack>/tests/pytest.ini` (`run.py test` does this).
"""

import shutil
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

# The helper modules of the host tests; the pack's root must not be added.
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "host")]

from frontend import Frontend, launch
from host_process import IP_ADAPTER_PACK
from real_server import real_server
from started import base_with_pack, small_models, started_host

# In the server process: the host knows no CLIP vision tower as small as the tests'.
MINI_CLIP_VISION = """
import sys
sys.path.append({here!r})
import comfy.clip_vision, mini_models
comfy.clip_vision.load = lambda path: mini_models.clip_vision()
NODE_CLASS_MAPPINGS = {{}}
"""
SCREENSHOTS = Path(__file__).parent / "screenshots"


def pytest_configure(config):
    if not (Path.cwd() / "comfy" / "model_patcher.py").exists():
        raise pytest.UsageError(
            f"the browser tests run in a ComfyUI's root, not in {Path.cwd()}: use 'python run.py test' "
            "with COMFYUI_PATH set to an installation"
        )


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory):
    base = base_with_pack(tmp_path_factory.mktemp("comfyui"))
    # A visitor who has been here before: the first visit opens the templates (test_first_time.py).
    settings = base / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"Comfy.TutorialCompleted": true}', encoding="utf-8")
    return base


@pytest.fixture(scope="module", autouse=True)
def nothing_left(base_directory):
    """A training goes on where a file of its name ended: the next file of tests must not find this one's."""
    yield
    shutil.rmtree(base_directory / "output", ignore_errors=True)


@pytest.fixture(scope="session")
def host(base_directory):
    return started_host(base_directory)


@pytest.fixture(scope="session")
def minis(host, base_directory):
    return small_models(host, base_directory)


@pytest.fixture(scope="module")
def ip_adapter_pack(base_directory):
    """IPAdapter_plus beside the pack, if it is installed."""
    pack = base_directory / "custom_nodes" / IP_ADAPTER_PACK.name
    if IP_ADAPTER_PACK.is_dir():
        shutil.copytree(IP_ADAPTER_PACK, pack, ignore=shutil.ignore_patterns(".git", "__pycache__", "examples"))
    yield
    shutil.rmtree(pack, ignore_errors=True)


@pytest.fixture(scope="module")
def mini_clip_vision(base_directory):
    """A pack that gives the server a small tower of that kind, whichever file is loaded."""
    pack = base_directory / "custom_nodes" / "mini_clip_vision.py"
    pack.write_text(MINI_CLIP_VISION.format(here=str(Path(__file__).parents[1] / "host")), encoding="utf-8")
    yield
    pack.unlink()


@pytest.fixture(scope="module")
def server(host, base_directory, tmp_path_factory):
    """The real server, for a file of tests that needs nothing else in it."""
    with real_server(base_directory, tmp_path_factory.mktemp("server") / "log.txt") as running:
        yield running


@pytest.fixture(scope="session")
def program(host):
    found = host.library("launcher.chromium").find_chromium()
    if found is None:
        raise pytest.UsageError("no Chromium was found on PATH: install one, or set CHROMIUM to its path")
    return found


@pytest.fixture(scope="module")
def chromium(program):
    """One browser for a module; every test has a context, so a user, of its own."""
    with sync_playwright() as playwright:
        browser = launch(playwright, program)
        yield browser
        browser.close()


@pytest.fixture
def open_frontend(chromium, request):
    """`open_frontend(address)` is a visitor's page, pictured when the test ends, passed or not."""
    opened = []

    def visit(address):
        page = chromium.new_context(viewport={"width": 1920, "height": 1080}).new_page()
        opened.append(Frontend(page, address))
        return opened[-1]

    yield visit
    SCREENSHOTS.mkdir(exist_ok=True)
    for frontend in opened:
        name = request.node.name.removeprefix("test_").replace("[", " ").rstrip("]")
        frontend.page.screenshot(path=SCREENSHOTS / f"{name}.png")
        frontend.page.context.close()
