"""Every shipped workflow, the templates and the help in the real frontend, as a visitor meets them."""

import json

import host_process
import pytest
from frontend import over_each_other
from host_process import IP_ADAPTER_PACK
from real_server import real_server
from test_api_twins import (
    DOMAIN,
    named_minis,  # noqa: F401, a fixture
    needs_ip_adapter,
    needs_large_files,
    needs_shape_model,
    shrunk,
)

WORKFLOWS = sorted((host_process.PACK_ROOT / "workflows").glob("*.json"))
SHOWN = {"PreviewImage", "SaveImage"}
# A workflow of one node.
ALONE = {"last_node_id": 1, "last_link_id": 0, "links": [], "groups": [], "config": {}, "extra": {}, "version": 0.4}


@pytest.fixture(scope="module")
def server(named_minis, ip_adapter_pack, mini_clip_vision, base_directory, tmp_path_factory):
    with real_server(base_directory, tmp_path_factory.mktemp("server") / "log.txt") as running:
        yield running


@pytest.fixture
def frontend(server, open_frontend):
    return open_frontend(server.address)


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def workflow(path):
    """A template as a graph; test_apps.py opens those that are apps as such."""
    found = json.loads(path.read_text(encoding="utf-8"))
    found["extra"].pop("linearMode", None)
    return found


@pytest.fixture
def twin(path):
    """The API prompt that is committed beside the workflow."""
    found = json.loads(
        (host_process.PACK_ROOT / "tests" / "workflows" / f"{path.stem}.api.json").read_text(encoding="utf-8")
    )
    if needs_ip_adapter(found) and not IP_ADAPTER_PACK.is_dir():
        pytest.skip(f"IPAdapter_plus is not installed at {IP_ADAPTER_PACK}: {path.name} was not opened")
    return found


def saved_links(workflow):
    return sorted([str(end) for end in link[1:5]] for link in workflow["links"])


def test_there_are_workflows():
    assert len(WORKFLOWS) >= 6


def test_a_dropped_workflow_is_whole_serialises_to_its_twin_runs_and_shows_pictures(
    frontend, server, path, workflow, twin
):
    frontend.drop(path.stem, workflow)
    assert frontend.broken() == []
    assert frontend.links() == saved_links(workflow)
    assert frontend.prompt() == twin
    assert frontend.error_overlay().count() == 0 and frontend.dialogs().count() == 0
    if needs_shape_model(twin):
        pytest.skip("no shape model is small enough for the tests: dropped and serialised, but not run")
    # What comes with the pack runs as it is shipped, the others with small pictures and few steps.
    small = json.loads(json.dumps(twin))
    if needs_large_files(small):
        shrunk(small)
    frontend.change_inputs(twin, small)
    assert frontend.prompt() == small
    record = frontend.make(server)
    shown = [node for node, content in twin.items() if content["class_type"] in SHOWN]
    assert shown and set(shown) <= set(record["outputs"])
    frontend.wait_for_images(shown)
    assert frontend.error_overlay().count() == 0 and frontend.errors == []


def test_nodes_do_not_overlap_and_titles_and_notes_can_be_read(frontend, path, workflow, twin):
    frontend.drop(path.stem, workflow)
    assert (
        "ds" not in workflow["extra"]
    )  # a saved view belongs to one window; without it the frontend shows the whole graph
    assert frontend.draws_text()  # of a larger graph it shows empty boxes
    boxes = frontend.boxes()
    assert over_each_other(boxes) == []
    assert [box["title"] for box in boxes if box["size"][0] < box["least"][0] or box["size"][1] < box["least"][1]] == []
    notes = [str(node["id"]) for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    assert notes
    for note in notes:
        height = frontend.note_heights(note)
        assert height["needed"] <= height["given"]


def test_the_template_browser_lists_the_pack_with_its_thumbnails(frontend):
    frontend.browse_templates()
    for path in WORKFLOWS:
        card = frontend.page.get_by_test_id(f"template-workflow-{path.stem}")
        card.wait_for()
        card.scroll_into_view_if_needed()  # pictures further down are fetched when they are reached
        picture = card.locator("img").first
        frontend.page.wait_for_function(
            "image => image.complete && image.naturalWidth > 100", arg=picture.element_handle()
        )
    assert frontend.page.locator("[data-testid^=template-workflow-]").count() == len(WORKFLOWS)


@pytest.fixture
def with_domain():
    """A workflow that loads a domain file, and its loader."""
    loader = {
        "id": 1,
        "type": "DomainGuidanceLoadUNet",
        "pos": [300, 200],
        "size": [320, 120],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": "unet_name", "type": "COMBO", "widget": {"name": "unet_name"}, "link": None},
            {"name": "weight_dtype", "type": "COMBO", "widget": {"name": "weight_dtype"}, "link": None},
        ],
        "outputs": [{"name": "MODEL", "type": "MODEL", "links": None}],
        "properties": {},
        "widgets_values": [DOMAIN, "default"],
    }
    return {**ALONE, "nodes": [loader]}, loader


NOTED = "id => app.graph.serialize().nodes.find(node => String(node.id) === id).properties.domain_file"


def test_a_workflow_notes_the_base_of_its_domain_file(frontend, with_domain):
    workflow, loader = with_domain
    frontend.drop("noted", workflow)
    noted = frontend.page.wait_for_function(NOTED, arg=str(loader["id"])).json_value()
    assert noted["name"] == loader["widgets_values"][0] and noted["base"] == "mini sd15"
    assert len(noted["base_fingerprint"]) == 16


ADD_LOADER = """() => {
    const node = LiteGraph.createNode('DomainGuidanceLoadUNet')
    app.graph.add(node)
    return [String(node.id), node.widgets[0].value]
}"""


def test_a_loader_that_is_added_notes_the_file_it_names_without_being_asked(frontend, with_domain):
    frontend.drop("added", with_domain[0])
    node, name = frontend.page.evaluate(
        ADD_LOADER
    )  # it names the first file of the list, whichever tests saved files before
    assert frontend.page.wait_for_function(NOTED, arg=node).json_value()["name"] == name


def test_a_missing_domain_file_is_named_with_its_base(frontend, with_domain):
    workflow, loader = with_domain
    loader["widgets_values"][0] = "porcelain.safetensors"
    loader["properties"]["domain_file"] = {
        "name": "porcelain.safetensors",
        "fingerprint": "fedcba9876543210",
        "base": "some base",
        "base_fingerprint": "0123456789abcdef",
    }
    frontend.drop("shared", workflow)
    frontend.error_overlay().get_by_text("porcelain.safetensors is missing").wait_for()
    notice = frontend.page.locator(".p-toast-detail")
    notice.wait_for()
    for told in (
        "porcelain.safetensors",
        "fedcba9876543210",
        "some base",
        "0123456789abcdef",
        "models/diffusion_models",
    ):
        assert told in notice.inner_text()
    frontend.page.locator(".p-toast-close-button").click()
    frontend.page.get_by_test_id("error-overlay-see-errors").click()
    frontend.page.get_by_text("Missing Models", exact=True).wait_for()


@pytest.mark.parametrize("other_base", [False, True], ids=["trained further", "of another base"])
def test_another_file_of_the_same_name_is_named_before_the_note_is_written_anew(frontend, with_domain, other_base):
    workflow, loader = with_domain
    frontend.drop("mine", workflow)
    noted = frontend.page.wait_for_function(NOTED, arg=str(loader["id"])).json_value()
    theirs = {**noted, "fingerprint": "fedcba9876543210"}
    if other_base:
        theirs |= {"base": "some base", "base_fingerprint": "0123456789abcdef"}
    loader["properties"]["domain_file"] = theirs
    frontend.drop("theirs", workflow)
    notice = frontend.page.locator(".p-toast-detail")
    notice.wait_for()
    said = notice.inner_text()
    assert noted["name"] in said and noted["fingerprint"] in said and "fedcba9876543210" in said
    assert ("some base" in said) == other_base
    frontend.page.locator(".p-toast-close-button").click()
    assert frontend.page.wait_for_function(NOTED, arg=str(loader["id"])).json_value() == noted


def test_a_missing_side_network_is_named_with_its_base(frontend):
    loader = {
        "id": 1,
        "type": "DomainGuidanceLoadSideNetwork",
        "pos": [300, 200],
        "size": [320, 100],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": "model", "type": "MODEL", "link": None}],
        "outputs": [{"name": "domain_model", "type": "MODEL", "links": []}],
        "properties": {
            "domain_file": {
                "name": "plates.safetensors",
                "fingerprint": "fedcba9876543210",
                "base": "some base",
                "base_fingerprint": "0123456789abcdef",
            }
        },
        "widgets_values": ["plates.safetensors"],
    }
    frontend.drop("shared side network", {**ALONE, "nodes": [loader]})
    notice = frontend.page.locator(".p-toast-detail")
    notice.wait_for()
    for told in ("plates.safetensors", "fedcba9876543210", "some base", "models/side_networks"):
        assert told in notice.inner_text()


def pages():
    return sorted((host_process.PACK_ROOT / "web" / "docs").glob("*.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_nodes_info_shows_its_help_page(frontend, page):
    frontend.drop(
        "help",
        {
            **ALONE,
            "nodes": [
                {
                    "id": 1,
                    "type": page.stem,
                    "pos": [300, 200],
                    "size": [320, 400],
                    "flags": {},
                    "order": 0,
                    "mode": 0,
                    "inputs": [],
                    "outputs": [],
                    "properties": {},
                    "widgets_values": [],
                }
            ],
        },
    )
    frontend.select("1")
    frontend.page.get_by_role("button", name="Node Info").click()
    headings = [line.lstrip("# ") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert len(headings) >= 3
    for heading in headings:
        frontend.page.get_by_role("heading", name=heading, exact=True).wait_for()
    assert "inputs -->" not in frontend.page.locator("body").inner_text()  # the marks of docs/make_help.py
