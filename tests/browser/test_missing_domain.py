"""What the loaders of domain files note and say of a file, also if a subgraph shows the widget."""

import json

import pytest
from real_server import real_server

ADAPTER, SUBGRAPH = "DomainGuidanceLoadAdapter", "11111111-2222-4333-8444-555555555555"
HERE = {"inner.safetensors": "1" * 16, "outer.safetensors": "2" * 16}  # this machine's files and their fingerprints
DAMAGED = "damaged.safetensors"
NOTED = """() => {
    const [node] = app.graph.nodes
    return (node.subgraph?.nodes[0] ?? node).properties.domain_file?.name
}"""
CHOOSE = """name => {
    const widget = app.graph.nodes[0].widgets.find(widget => widget.name === "lora_name")
    widget.setValue ? widget.setValue(name, {e: new PointerEvent("pointerup"), node: app.graph.nodes[0],
        canvas: app.canvas}) : widget.value = name
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()
}"""
# A list that is a function, as other packs and the frontend's remote lists have it.
LISTED_BY_FUNCTION = """() => app.registerExtension({name: "Test.ListedByFunction", nodeCreated(node) {
    const widget = node.widgets?.find(widget => widget.name === "lora_name")
    const values = widget?.options.values
    if (widget) widget.options.values = () => values
}})"""


def file_with_card(path, card):
    """The header of a safetensors file without tensors."""
    header = json.dumps({"__metadata__": {"domain_guidance": card}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


@pytest.fixture(scope="module")
def server(base_directory, tmp_path_factory):
    loras = base_directory / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    for name, fingerprint in HERE.items():
        card = {"fingerprint": fingerprint, "base_name": "some base", "base_fingerprint": "0" * 16}
        file_with_card(loras / name, json.dumps(card))
    file_with_card(loras / DAMAGED, "{no JSON")
    with real_server(base_directory, tmp_path_factory.mktemp("server") / "log.txt") as running:
        yield running
    for name in (*HERE, DAMAGED):
        (loras / name).unlink()


@pytest.fixture
def frontend(server, open_frontend):
    return open_frontend(server.address)


def note_of(name):
    return {"name": name, "fingerprint": "f" * 16, "base": "another base", "base_fingerprint": "b" * 16}


def workflow(nodes, **more):
    root = {"last_node_id": 1, "last_link_id": 0, "nodes": nodes, "links": [], "groups": [], "config": {}, "extra": {}}
    return {"id": "99999999-2222-4333-8444-555555555555", "revision": 0, "version": 0.4, **root, **more}


def loader(name, noted=None):
    return {
        "id": 1,
        "type": ADAPTER,
        "pos": [300, 200],
        "size": [280, 120],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": "model", "type": "MODEL", "link": None},
            {"name": "lora_name", "type": "COMBO", "link": None, "widget": {"name": "lora_name"}},
        ],
        "outputs": [{"name": "domain_model", "type": "MODEL", "links": []}],
        "properties": {"domain_file": noted} if noted else {},
        "widgets_values": [name, 1.0],
    }


def in_subgraph(inner, outer, noted=None):
    """A subgraph that shows its loader's file: the loader names `inner`, the subgraph's node has `outer`."""
    within = loader(inner, noted)
    within["inputs"][1]["link"] = 1
    definition = {
        "id": SUBGRAPH,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": 1, "lastLinkId": 1, "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": "My loader",
        "inputNode": {"id": -10, "bounding": [-220, 0, 130, 100]},
        "outputNode": {"id": -20, "bounding": [370, 0, 120, 100]},
        "inputs": [
            {
                "id": "b1111111-2222-4333-8444-555555555555",
                "name": "lora_name",
                "type": "COMBO",
                "linkIds": [1],
                "pos": [-110, 40],
            }
        ],
        "outputs": [],
        "widgets": [],
        "nodes": [within],
        "groups": [],
        "links": [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 1, "type": "COMBO"}],
        "extra": {},
    }
    node = {
        "id": 1,
        "type": SUBGRAPH,
        "pos": [300, 200],
        "size": [300, 150],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": "lora_name", "type": "COMBO", "widget": {"name": "lora_name"}, "link": None}],
        "outputs": [],
        "properties": {"proxyWidgets": [["1", "lora_name"]]},
        "widgets_values": [outer],
    }
    return workflow([node], definitions={"subgraphs": [definition]})


def notices(frontend):
    return " ".join(frontend.page.locator(".p-toast-detail").all_inner_texts())


def noted(frontend, name):
    frontend.page.wait_for_function(f"name => ({NOTED})() === name", arg=name)


def test_a_file_that_is_chosen_at_a_subgraph_is_noted_at_the_loader_within(frontend):
    frontend.drop("chosen outside", in_subgraph("inner.safetensors", "inner.safetensors"))
    noted(frontend, "inner.safetensors")
    frontend.page.evaluate(CHOOSE, "outer.safetensors")
    noted(frontend, "outer.safetensors")
    assert frontend.errors == []


def test_a_missing_file_that_was_chosen_at_a_subgraph_is_named_with_its_base(frontend):
    frontend.drop("gone", in_subgraph("inner.safetensors", "gone.safetensors", note_of("gone.safetensors")))
    frontend.page.locator(".p-toast-detail").wait_for()
    assert "gone.safetensors" in notices(frontend) and "another base" in notices(frontend)
    assert frontend.errors == []


def test_a_file_that_a_loader_within_a_subgraph_names_without_using_it_is_not_missed(frontend):
    frontend.drop("stale", in_subgraph("stale.safetensors", "outer.safetensors", note_of("stale.safetensors")))
    noted(frontend, "outer.safetensors")
    assert notices(frontend) == "" and frontend.errors == []


def test_a_damaged_card_and_a_server_that_does_not_answer_leave_the_page_without_errors(frontend):
    frontend.drop("damaged", workflow([loader(DAMAGED)]))
    frontend.page.wait_for_timeout(1000)
    assert frontend.page.evaluate(NOTED) is None
    frontend.page.route("**/view_metadata/**", lambda route: route.abort())
    frontend.drop("unanswered", workflow([loader("inner.safetensors", note_of("inner.safetensors"))]))
    frontend.page.wait_for_timeout(1000)
    assert frontend.page.evaluate(NOTED) == "inner.safetensors"
    assert notices(frontend) == "" and frontend.errors == []


def test_a_list_of_files_that_is_a_function_is_asked(frontend):
    frontend.page.evaluate(LISTED_BY_FUNCTION)
    frontend.drop("missing", workflow([loader("gone.safetensors", note_of("gone.safetensors"))]))
    frontend.page.locator(".p-toast-detail").wait_for()
    assert "gone.safetensors" in notices(frontend)
    assert frontend.errors == []
