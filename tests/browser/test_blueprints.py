"""The pack's subgraph blueprints in the real frontend: listed, whole, and with the values of their outside inside."""

import json

import host_process
import pytest

BLUEPRINTS = sorted((host_process.PACK_ROOT / "subgraphs").glob("*.json"))
# What is inside a blueprint: types that the frontend does not know, and inputs that another node's definition lacks.
INSIDE = """() => {
    const found = []
    for (const outer of app.graph.nodes)
        for (const node of outer.subgraph?.nodes ?? []) {
            if (!(node.type in LiteGraph.registered_node_types)) found.push(`${node.type} is missing`)
            const known = node.constructor.nodeData?.input ?? {}
            const names = new Set([...Object.keys(known.required ?? {}), ...Object.keys(known.optional ?? {})])
            for (const input of node.inputs) if (!names.has(input.name)) found.push(`${node.type}: ${input.name}`)
            for (const name of names)
                if (!node.inputs.some(input => input.name === name)) found.push(`${node.type} without ${name}`)
        }
    return found
}"""
OUTER = "() => app.graph.nodes[0].widgets.map(widget => widget.name)"
VALUES = {
    "Draw In A Domain": {"prompt": "a red bicycle", "weight": 3.5, "cfg": 5.0, "steps": 7, "width": 640},
    "Train A Domain From A Folder": {"save_name": "my ceramics", "resolution": 256},
    "Two Domains With Masks": {"first_weight": 2.5, "second_weight": -1.0},
}


@pytest.fixture
def frontend(server, open_frontend):
    return open_frontend(server.address)


@pytest.fixture(params=BLUEPRINTS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_the_server_lists_every_blueprint_as_the_packs(server):
    own = [
        entry for entry in server.get("/global_subgraphs").values() if "domain-guidance" in entry["info"]["node_pack"]
    ]
    assert sorted(entry["name"] for entry in own) == sorted(VALUES) == [path.stem for path in BLUEPRINTS]


def test_what_one_sets_outside_is_what_the_server_gets(frontend, path):
    frontend.drop(path.stem, json.loads(path.read_text(encoding="utf-8")))
    assert frontend.page.evaluate(INSIDE) == []
    assert {*VALUES[path.stem]} <= {*frontend.page.evaluate(OUTER)}
    for name, value in VALUES[path.stem].items():
        frontend.set_widget("1", name, value)
    sent = [value for node in frontend.prompt().values() for value in node["inputs"].values()]
    assert [value for value in VALUES[path.stem].values() if value not in sent] == []
    assert frontend.errors == []
