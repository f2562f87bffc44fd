"""The pack's subgraph blueprints in the real frontend: listed, whole, and with the values of their outside inside."""

import json

import host_process
import pytest
from conftest import SCREENSHOTS
from frontend import READY, SAID, WINDOWS
from PIL import Image
from real_server import real_server
from test_api_twins import CHECKPOINT, FINE_TUNE, named_minis  # noqa: F401, a fixture
from test_opened import over_each_other

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
WIDGETS = "id => app.graph.getNodeById(id).widgets.map(widget => widget.name)"
FOLDER = "for a blueprint"
TRAIN, DRAW = 4, 7  # ids in the workflow of the test
# What is not on a blueprint's outside.
SET_INSIDE = """([id, type, name, value]) => {
    const inner = app.graph.getNodeById(id).subgraph.nodes.find(node => node.type === type)
    inner.widgets.find(widget => widget.name === name).value = value
}"""
OUTER = "() => app.graph.nodes[0].widgets.map(widget => widget.name)"
VALUES = {
    "Draw In A Domain": {"prompt": "a red bicycle", "weight": 3.5, "cfg": 5.0, "steps": 7, "width": 640},
    "Train A Domain From A Folder": {"save_name": "my ceramics", "resolution": 256},
    "Two Domains With Masks": {"first_weight": 2.5, "second_weight": -1.0},
}


@pytest.fixture(scope="module")
def server(named_minis, base_directory, tmp_path_factory):
    write_pictures(base_directory / "input" / FOLDER)
    with real_server(base_directory, tmp_path_factory.mktemp("server") / "log.txt") as running:
        yield running


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
    frontend.resize(*WINDOWS[0])
    frontend.drop(path.stem, json.loads(path.read_text(encoding="utf-8")))
    assert frontend.page.evaluate(INSIDE) == []
    assert {*VALUES[path.stem]} <= {*frontend.page.evaluate(OUTER)}
    for name, value in VALUES[path.stem].items():
        frontend.set_widget("1", name, value)
    sent = [value for node in frontend.prompt().values() for value in node["inputs"].values()]
    assert [value for value in VALUES[path.stem].values() if value not in sent] == []
    for _ in frontend.pictured(SCREENSHOTS / "opened", path.stem):
        assert frontend.draws_text() and frontend.outside() == []
    assert frontend.errors == []


@pytest.mark.parametrize("in_another", [False, True], ids=["in the same page", "in another page"])
def test_what_one_sets_outside_is_still_set_when_the_workflow_is_opened_again(
    server, frontend, open_frontend, path, in_another
):
    frontend.drop(path.stem, json.loads(path.read_text(encoding="utf-8")))
    for name, value in VALUES[path.stem].items():
        frontend.set_widget("1", name, value)
    expected, saved = frontend.prompt(), frontend.page.evaluate("() => app.rootGraph.serialize()")
    page = open_frontend(server.address) if in_another else frontend
    for _ in range(2):  # what is lost may be lost at the second opening alone
        page.drop("Opened Again", saved)
        assert page.prompt() == expected
        saved = page.page.evaluate("() => app.rootGraph.serialize()")
    assert frontend.errors == page.errors == []


def write_pictures(folder):
    """Eight small pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(8):
        Image.radial_gradient("L").resize((64 + 8 * number, 64)).convert("RGB").save(folder / f"{number}.png")


class Canvas:
    """A workflow that is put together node by node, blueprints among them."""

    def __init__(self):
        self.workflow = {"version": 0.4, "nodes": [], "links": [], "definitions": {"subgraphs": []}, "extra": {}}

    def add(self, node, x, y):
        node |= {"id": len(self.workflow["nodes"]) + 1, "pos": [x, y]}
        self.workflow["nodes"].append(node)
        return node

    def plain(self, kind, x, y, inputs=(), outputs=(), values=()):
        sockets = [{"name": name, "type": name.upper().removesuffix("S"), "link": None} for name in inputs]
        made = [{"name": name, "type": name, "links": []} for name in outputs]
        size = {"size": [240, 200], "flags": {}, "order": 0, "mode": 0, "properties": {}}
        return self.add({"type": kind, "inputs": sockets, "outputs": made, "widgets_values": [*values], **size}, x, y)

    def blueprint(self, name, x, y):
        file = json.loads((BLUEPRINTS[0].parent / f"{name}.json").read_text(encoding="utf-8"))
        self.workflow["definitions"]["subgraphs"] += file["definitions"]["subgraphs"]
        return self.add(file["nodes"][0], x, y)

    def link(self, source, output, target, *inputs):
        slot, made = next(entry for entry in enumerate(source["outputs"]) if entry[1]["name"] == output)
        for name in inputs:
            at, socket = next(entry for entry in enumerate(target["inputs"]) if entry[1]["name"] == name)
            number = len(self.workflow["links"]) + 1
            self.workflow["links"].append([number, source["id"], slot, target["id"], at, made["type"]])
            made["links"], socket["link"] = [*(made.get("links") or []), number], number


def three_blueprints():
    """Train and use a domain, and beside it a fine-tuned checkpoint as another one."""
    canvas, loaded = Canvas(), ("MODEL", "CLIP", "VAE")
    base = canvas.plain("CheckpointLoaderSimple", 0, 100, outputs=loaded, values=[CHECKPOINT])
    tuned = canvas.plain("CheckpointLoaderSimple", 0, 400, outputs=loaded, values=[FINE_TUNE])
    mask = canvas.plain("SolidMask", 0, 700, outputs=["MASK"], values=[1, 64, 64])
    train = canvas.blueprint("Train A Domain From A Folder", 300, 100)
    two = canvas.blueprint("Two Domains With Masks", 680, 100)
    empty = canvas.plain("CLIPTextEncode", 300, 660, inputs=["clip"], outputs=["CONDITIONING"], values=[""])
    draw = canvas.blueprint("Draw In A Domain", 680, 450)
    picture = canvas.plain("PreviewImage", 1060, 450, inputs=["images"])
    curves = canvas.plain("PreviewImage", 1060, 100, inputs=["images"])
    for name in loaded:
        canvas.link(base, name, train, name.lower())
    canvas.link(base, "MODEL", two, "model")
    canvas.link(train, "domain_model", two, "first_domain")
    canvas.link(tuned, "MODEL", two, "second_domain")
    canvas.link(tuned, "CLIP", empty, "clip")
    canvas.link(empty, "CONDITIONING", two, "second_domain_conditioning")
    canvas.link(empty, "CONDITIONING", draw, "domain_conditioning")
    canvas.link(mask, "MASK", two, "first_mask", "second_mask")
    canvas.link(two, "MODEL", draw, "model")
    canvas.link(base, "CLIP", draw, "clip")
    canvas.link(base, "VAE", draw, "vae")
    canvas.link(tuned, "MODEL", draw, "domain_model")
    canvas.link(draw, "IMAGE", picture, "images")
    canvas.link(train, "curves", curves, "images")
    assert (train["id"], draw["id"]) == (TRAIN, DRAW)
    settings = {
        TRAIN: {"folder": FOLDER, "save_name": "by blueprint", "preset": "own", "resolution": 64},
        DRAW: {"prompt": "a bicycle", "weight": 9, "steps": 2, "width": 64, "height": 64},
    }
    return canvas.workflow, settings, [picture["id"], curves["id"]]


def test_the_blueprints_are_run_together_and_show_their_pictures_and_what_their_nodes_said_also_after_a_reload(
    server, frontend
):
    workflow, settings, showing = three_blueprints()
    frontend.resize(*WINDOWS[0])
    frontend.drop("blueprints", workflow)
    for node, values in settings.items():
        assert {*values} <= {*frontend.page.evaluate(WIDGETS, node)}
        for name, value in values.items():
            frontend.set_widget(str(node), name, value)
    frontend.page.evaluate(SET_INSIDE, [TRAIN, "DomainGuidanceTrain", "steps", 3])
    frontend.make(server)
    frontend.wait_for_images(showing)
    said = frontend.page.wait_for_function(f"id => ({SAID})()[id]", arg=TRAIN).json_value()
    assert said[0].startswith("The training has finished its 3 steps and saved 'output/loras/by blueprint.")
    burnt = frontend.page.wait_for_function(f"id => ({SAID})()[id]", arg=DRAW).json_value()
    assert "tend to burn" in " ".join(burnt)
    assert "domain_guidance_message" not in frontend.page.evaluate("() => JSON.stringify(app.graph.serialize())")
    for boxes in frontend.pictured(SCREENSHOTS / "after run", "blueprints"):
        assert over_each_other(boxes) == []
    frontend.page.reload()
    frontend.page.wait_for_function(READY)
    assert frontend.page.wait_for_function(f"id => ({SAID})()[id]", arg=TRAIN).json_value() == said
    assert frontend.errors == []
