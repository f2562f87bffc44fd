"""Templates that open as apps, at 1600 by 1000: a form with plain labels, Run, and the picture."""

import json

import host_process
import pytest
from conftest import SCREENSHOTS
from frontend import WINDOWS
from real_server import real_server
from test_api_twins import named_minis, shrunk  # noqa: F401, a fixture

APPS = sorted((host_process.PACK_ROOT / "workflows").glob("*.app.json"))
LOADED = "name => app.extensionManager.workflow.activeWorkflow?.filename === name && app.graph.nodes.length"
# Pictures that the run saved; the curves of a training come before them, and are previews.
PICTURES = """() => [...document.querySelectorAll("img")]
    .filter(image => /[/]view[?].*type=output/.test(image.src))
    .filter(image => image.naturalWidth && image.getBoundingClientRect().width > 200)
    .map(image => image.src)"""


@pytest.fixture(scope="module")
def server(named_minis, base_directory, tmp_path_factory):
    with real_server(base_directory, tmp_path_factory.mktemp("server") / "log.txt") as running:
        yield running


def pictured(frontend, folder, name):
    """In both windows."""
    (SCREENSHOTS / folder).mkdir(parents=True, exist_ok=True)
    for window in reversed(WINDOWS):
        frontend.resize(*window)
        frontend.page.wait_for_timeout(500)
        frontend.page.screenshot(path=SCREENSHOTS / folder / f"{name} {window[0]}.png")


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.stem)
def test_a_template_opens_as_an_app_is_filled_in_and_run_and_shows_its_picture(server, open_frontend, path):
    frontend = open_frontend(f"{server.address}/?template={path.stem}&source=domain-guidance")
    page = frontend.page
    frontend.resize(*WINDOWS[0])
    page.wait_for_function(LOADED, arg=path.stem.removesuffix(".app"))
    # The frontend's own tour of its apps covers the first form that a user opens.
    page.add_locator_handler(page.get_by_role("button", name="Skip"), lambda skip: skip.click())
    form = json.loads(path.read_text(encoding="utf-8"))["extra"]["linearData"]
    fields = page.get_by_test_id("app-mode-widget-item")
    page.wait_for_function(
        "count => document.querySelectorAll('[data-testid=app-mode-widget-item]').length === count",
        arg=len(form["inputs"]),
    )
    labels = page.get_by_test_id("builder-widget-label").all_inner_texts()
    assert len(labels) == fields.count() and not {name for _, name, *_ in form["inputs"]} & set(labels)
    for _, _, *said in form["inputs"]:
        text = page.get_by_text(said[0]["description"], exact=True)
        assert text.evaluate("shown => shown.scrollWidth <= shown.clientWidth"), said
    pictured(frontend, "opened", path.stem)
    twin = frontend.prompt()
    small = shrunk(json.loads(json.dumps(twin)))
    frontend.change_inputs(twin, small)
    fields.filter(has_text="Prompt").get_by_role("textbox").fill("a red bicycle")
    assert frontend.prompt()["2"]["inputs"]["text"] == "a red bicycle"
    page.get_by_test_id("linear-run-button").get_by_role("button", name="Run").click()
    page.wait_for_function(f"() => ({PICTURES})().length", timeout=300_000, polling=500)
    (record,) = [
        record
        for record in server.get("/history").values()
        if record["prompt"][2]["2"]["inputs"]["text"] == "a red bicycle" and set(record["prompt"][2]) == set(twin)
    ]
    assert record["status"]["status_str"] == "success" and {str(node) for node in form["outputs"]} <= set(
        record["outputs"]
    )
    saved = record["outputs"]["11"]["images"][0]["filename"]
    assert any(saved in source for source in page.evaluate(PICTURES))
    pictured(frontend, "after run", path.stem)
    assert frontend.errors == []
