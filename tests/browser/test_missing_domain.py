"""What the loaders of domain files note and say of a file, also where something is wrong."""

import json

import pytest
from real_server import real_server

ADAPTER = "DomainGuidanceLoadAdapter"
HERE = {"inner.safetensors": "1" * 16, "outer.safetensors": "2" * 16}  # this machine's files and their fingerprints
DAMAGED = "damaged.safetensors"
NOTED = "() => app.graph.nodes[0].properties.domain_file?.name"
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


def workflow(nodes):
    root = {"last_node_id": 1, "last_link_id": 0, "nodes": nodes, "links": [], "groups": [], "config": {}, "extra": {}}
    return {"id": "99999999-2222-4333-8444-555555555555", "revision": 0, "version": 0.4, **root}


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


def notices(frontend):
    return " ".join(frontend.page.locator(".p-toast-detail").all_inner_texts())


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
