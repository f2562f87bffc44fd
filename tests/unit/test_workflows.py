"""Each template exists twice: for the frontend (workflows/) and for the server (tests/workflows/).

Both must say the same.
"""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
FRONTEND_ONLY = {"MarkdownNote", "Note"}
# Their schemas say `control_after_generate=False`; the host tests compare.
UNCONTROLLED_SEEDS = {
    "DomainGuidanceTrain",
    "DomainGuidanceAdaptGenerator",
    "DomainGuidanceInvertImage",
    "DomainGuidanceEvaluate",
}
FRONTEND_INPUTS = {
    "SaveGLB": {"image"}
}  # its view of the mesh, which the frontend sends along and the server does not read


def as_graph(workflow):
    """What the frontend would send for a saved workflow: `{node id: (class, {input: value or [node, slot]}, title or
    None)}`.

    A widget input that has `control_after_generate` is followed by one value which is the frontend's own; so is an
    upload button.
    """
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    nodes = (node for node in workflow["nodes"] if node["type"] not in FRONTEND_ONLY)
    return {str(node["id"]): (node["type"], inputs_of(node, sources), node.get("title")) for node in nodes}


def inputs_of(node, sources):
    values, inputs = iter(node["widgets_values"]), {}
    for entry in node["inputs"]:
        if "widget" not in entry:
            if entry["link"] is not None:
                inputs[entry["name"]] = sources[entry["link"]]
            continue
        value = next(values)
        if entry["type"] != "IMAGEUPLOAD":
            inputs[entry["name"]] = value
        if entry["name"] in ("seed", "noise_seed") and node["type"] not in UNCONTROLLED_SEEDS:
            assert next(values) in ("fixed", "randomize", "increment", "decrement")
    assert not list(values), f"{node['type']} has more values than widgets"
    return inputs


@pytest.fixture(params=TEMPLATES, ids=lambda path: path.stem)
def template(request):
    return request.param


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def twin(template):
    return load(ROOT / "tests" / "workflows" / f"{template.stem}.api.json")


def test_every_template_has_a_twin_and_every_twin_a_template():
    twins = {path.name.removesuffix(".api.json") for path in (ROOT / "tests" / "workflows").glob("*.json")}
    assert {path.stem for path in TEMPLATES} == twins
    assert len(twins) >= 6


def test_both_twins_carry_the_same_nodes_values_and_links(template):
    frontend = {node: content[:2] for node, content in as_graph(load(template)).items()}
    assert frontend == {
        node: (content["class_type"], read_by_the_server(content)) for node, content in twin(template).items()
    }


def read_by_the_server(content):
    return {
        name: value
        for name, value in content["inputs"].items()
        if name not in FRONTEND_INPUTS.get(content["class_type"], ())
    }


def test_a_title_that_the_user_reads_is_the_servers_too(template):
    titles = {node: content["_meta"]["title"] for node, content in twin(template).items()}
    assert all(title in (None, titles[node]) for node, (_, _, title) in as_graph(load(template)).items())


def test_every_link_is_named_by_both_of_its_ends(template):
    workflow = load(template)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, output, target, slot, kind in workflow["links"]:
        assert nodes[target]["inputs"][slot]["link"] == link and {kind, "*"} & set(
            nodes[target]["inputs"][slot]["type"].split(",")
        )
        assert link in nodes[source]["outputs"][output]["links"] and nodes[source]["outputs"][output]["type"] == kind
    ends = [link for node in workflow["nodes"] for output in node["outputs"] for link in output["links"] or ()]
    assert sorted(ends) == sorted(link[0] for link in workflow["links"])


def test_a_template_explains_itself_and_is_of_the_pack(template):
    kinds = [node["type"] for node in load(template)["nodes"]]
    assert "MarkdownNote" in kinds and any(kind.startswith("DomainGuidance") for kind in kinds)


def test_the_saved_counters_leave_room_for_the_next_node_and_link(template):
    workflow = load(template)
    assert workflow["last_node_id"] == max(node["id"] for node in workflow["nodes"])
    assert workflow["last_link_id"] == max(link[0] for link in workflow["links"])
    assert workflow["version"] == 0.4


def files_asked_for(workflow):
    """`{file: node}` of what the loaders name."""
    values = (
        (value, node)
        for node in workflow["nodes"]
        if node["type"] not in FRONTEND_ONLY
        for value in node["widgets_values"]
    )
    return {
        value: node
        for value, node in values
        if isinstance(value, str) and value.endswith((".safetensors", ".ckpt", ".pt"))
    }


def test_the_note_names_every_file_that_the_workflow_needs(template):
    workflow = load(template)
    notes = " ".join(node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in FRONTEND_ONLY)
    assert [file for file in files_asked_for(workflow) if file not in notes] == []


def test_a_loader_offers_only_the_file_that_it_names_and_only_where_that_has_an_address(template):
    for node in load(template)["nodes"]:
        for model in node.get("properties", {}).get("models", ()):
            assert model["name"] in node["widgets_values"] and model["directory"]
            assert model["url"].startswith("https://") and model["url"].endswith(".safetensors")


def test_a_template_has_a_thumbnail(template):
    assert template.with_suffix(".jpg").read_bytes().startswith(b"\xff\xd8")


def test_a_file_with_an_address_has_it_in_every_workflow():
    nodes = [node for path in TEMPLATES for node in load(path)["nodes"] if node["type"] not in FRONTEND_ONLY]
    known = {model["name"]: model for node in nodes for model in node["properties"].get("models", ())}
    assert known
    for node in nodes:
        wanted = [known[value] for value in node["widgets_values"] if isinstance(value, str) and value in known]
        assert node["properties"].get("models", []) == wanted
