"""The templates against the real nodes' schemas: a changed or misordered widget would silently shift the values that
users open.
"""

import json
from pathlib import Path

import host_process
import pytest
from packaging.version import Version

TEMPLATES = sorted((host_process.PACK_ROOT / "workflows").glob("*.json"))
IP_ADAPTER = Path.cwd() / "custom_nodes" / "ComfyUI_IPAdapter_plus"
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
FILE_CHOICES = {
    "ckpt_name",
    "unet_name",
    "lora_name",
    "control_net_name",
    "ipadapter_file",
    "clip_name",
    "image",
    "generator_name",
    "side_network",
}  # what this machine has


def saved_nodes():
    for path in TEMPLATES:
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            if node["type"] != "MarkdownNote":
                yield pytest.param(node, id=f"{path.stem}, {node['type']} {node['id']}")


@pytest.fixture(params=saved_nodes())
def node(request):
    return request.param


@pytest.fixture
def node_class(host, node):
    import nodes

    if node["type"].startswith("IPAdapter") and node["type"] not in nodes.NODE_CLASS_MAPPINGS:
        if not IP_ADAPTER.is_dir():
            pytest.skip(f"IPAdapter_plus is not installed at {IP_ADAPTER}: its nodes' schemas were not compared")
        host_process.load_pack(IP_ADAPTER)
    if node["type"] not in nodes.NODE_CLASS_MAPPINGS and is_newer_than_this_host(node):
        pytest.skip(f"this ComfyUI has no node {node['type']}, which a later one has")
    return nodes.NODE_CLASS_MAPPINGS[node["type"]]


def is_newer_than_this_host(node):
    """Whether a node of the host was saved by a later ComfyUI than this one."""
    from comfyui_version import __version__

    saved_by = node["properties"]
    return saved_by["cnr_id"] == "comfy-core" and Version(__version__) < Version(saved_by["ver"])


@pytest.fixture
def schema(node_class):
    """`{input name: (type, options)}` in the order in which the frontend makes widgets and sockets."""
    declared = node_class.INPUT_TYPES()
    specs = {**declared.get("required", {}), **declared.get("optional", {})}
    return {name: described(spec) for name, spec in specs.items()}


def described(spec):
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    return ("COMBO", options | {"options": kind}) if isinstance(kind, list) else (kind, options)


def widgets(node, schema):
    """`[(input name, value)]`, without the frontend's own values: control after generate, upload button."""
    values, found = iter(node["widgets_values"]), []
    for entry in node["inputs"]:
        if "widget" in entry:
            found.append((entry["name"], next(values)))
            if schema.get(entry["name"], ("", {}))[1].get(
                "control_after_generate", entry["name"] in ("seed", "noise_seed")
            ):
                assert next(values) in ("fixed", "randomize", "increment", "decrement")
    assert not list(values)
    return [(name, value) for name, value in found if name != "upload"]


def test_widgets_are_saved_in_the_schemas_order(node, schema):
    expected = [name for name, (kind, _) in schema.items() if kind in WIDGET_TYPES]
    assert [name for name, _ in widgets(node, schema)] == expected


def test_sockets_are_the_schemas_and_the_required_ones_are_linked(node, node_class, schema):
    sockets = {entry["name"]: entry for entry in node["inputs"] if "widget" not in entry}
    assert {name: entry["type"] for name, entry in sockets.items()} == {
        name: kind for name, (kind, _) in schema.items() if kind not in WIDGET_TYPES
    }
    required = node_class.INPUT_TYPES()["required"]
    assert all(sockets[name]["link"] is not None for name in required if name in sockets)


def test_values_are_what_the_schema_allows(node, schema):
    for name, value in widgets(node, schema):
        kind, options = schema[name]
        if kind == "COMBO" and name not in FILE_CHOICES:
            assert value in options["options"], name
        if kind in ("INT", "FLOAT"):
            assert options.get("min", value) <= value <= options.get("max", value), name


def test_linked_outputs_are_the_schemas(node, node_class):
    linked = {slot: output["type"] for slot, output in enumerate(node["outputs"]) if output["links"]}
    assert linked == {slot: node_class.RETURN_TYPES[slot] for slot in linked}
