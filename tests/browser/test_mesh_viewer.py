"""The painted mesh of template 21 in the host's own viewer, in a Chromium that draws WebGL in software."""

import io

import numpy as np
import pytest
from conftest import SCREENSHOTS
from frontend import FLAGS, Frontend
from PIL import Image
from playwright.sync_api import sync_playwright
from real_server import real_server

SOFTWARE = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LOOKS = 120  # a second apart, while the viewer loads the mesh and its texture
# The node's own canvas, enlarged, in the middle of the window.
LOOK_AT_VIEWER = """type => {
    const node = app.graph.nodes.find(node => node.type === type)
    app.canvas.ds.scale = 1.5
    app.canvas.ds.offset = [60 - node.pos[0], 60 - node.pos[1]]
    app.canvas.setDirty(true, true)
    return node.id
}"""

# Beside the graph's own canvas and the map of it, which is smaller.
VIEWER = """() => {
    const canvases = [...document.querySelectorAll("canvas")].filter(canvas => canvas.id !== "graph-canvas")
    const boxes = canvases.map(canvas => canvas.getBoundingClientRect())
    const {x, y, width, height} = boxes.sort((a, b) => b.width * b.height - a.width * a.height)[0]
    return {x, y, width, height}
}"""


@pytest.fixture(scope="module")
def server(host, base_directory, tmp_path_factory):
    with real_server(base_directory, tmp_path_factory.mktemp("server") / "log.txt", textures=True) as running:
        yield running


@pytest.fixture
def page(program):
    with sync_playwright() as playwright:
        flags = [flag for flag in FLAGS if flag != "--disable-gpu"] + SOFTWARE
        browser = playwright.chromium.launch(executable_path=str(program), args=flags, headless=True)
        yield browser.new_page(viewport={"width": 1400, "height": 900})
        browser.close()


def share_of(picture, strong, weak):
    """The share of pixels in which one colour channel is far above another."""
    pixels = np.asarray(picture.convert("RGB"), dtype=int)
    return (pixels[..., strong] > pixels[..., weak] + 60).mean()


def test_the_painted_vase_opens_with_its_texture_in_the_hosts_viewer(server, page):
    """A mesh without its texture is white; this one has a red stroke and a blue rim."""
    frontend = Frontend(page, server.address)
    frontend.drop_template("21-paint-a-mesh-in-a-domain")
    frontend.make(server)
    page.evaluate(LOOK_AT_VIEWER, "SaveGLB")
    red = blue = 0.0
    for _ in range(LOOKS):
        drawn = Image.open(io.BytesIO(page.screenshot(clip=page.evaluate(VIEWER), timeout=600_000)))
        red, blue = share_of(drawn, 0, 2), share_of(drawn, 2, 0)
        if red > 0.01 and blue > 0.005:
            break
        page.wait_for_timeout(1000)
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "painted-vase.png")
    assert red > 0.01 and blue > 0.005
    assert frontend.errors == []
