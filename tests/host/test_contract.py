"""Saved workflows keep working: nodes, inputs and outputs may be added, not changed.

And every node is in a workflow that runs.
"""

import copy
import json
import sys

import host_process
import pytest

CONTRACT = host_process.PACK_ROOT / "tests" / "contract"
sys.path.append(str(CONTRACT))

import node_contract
import record

RECORDED = json.loads(record.RECORD.read_text(encoding="utf-8"))
COMMAND = "record it, in ComfyUI's folder: python <this pack>/tests/contract/record.py"


@pytest.fixture(scope="module")
def live(host, base_directory):
    return node_contract.describe(record.own_nodes(), base_directory)


def test_nothing_that_a_saved_workflow_relies_on_has_changed(live):
    assert RECORDED
    assert list(node_contract.breaking(RECORDED, live)) == []


def test_everything_new_is_recorded(live):
    assert live == RECORDED, (
        f"A node, an input or an output is not as it is recorded. If the test above passes, {COMMAND}"
    )


def test_every_node_is_in_a_workflow_that_is_executed(live):
    twins = [
        json.loads(path.read_text(encoding="utf-8")) for path in (CONTRACT.parent / "workflows").rglob("*.api.json")
    ]
    used = {node["class_type"] for twin in twins for node in twin.values()}
    assert live
    assert sorted(live.keys() - used) == [], (
        "test_api_twins.py executes every twin: add the node to one, or a workflow for it"
    )


def test_a_list_of_files_is_not_recorded_with_the_files_of_one_machine(live):
    (entry,) = [entry for entry in live["DomainGuidanceLoadUNet"]["inputs"] if entry["name"] == "unet_name"]
    assert entry["options"] == node_contract.FILES


def test_the_hosts_samplers_are_not_recorded_as_the_packs_own(live):
    (entry,) = [entry for entry in live["DomainGuidanceReport"]["inputs"] if entry["name"] == "sampler_name"]
    assert entry["options"] == node_contract.SAMPLERS


def changed(node, **parts):
    nodes = copy.deepcopy(RECORDED)
    for part, change in parts.items():
        nodes[node][part] = change(nodes[node][part])
    return nodes


def with_input(name, /, **facts):
    return lambda inputs: [entry | facts if entry["name"] == name else entry for entry in inputs]


APPLY, TOY = "DomainGuidanceApply", "DomainGuidanceToyWorld"
NEW = {"name": "new", "type": "FLOAT", "optional": True, "default": 0.0}
BREAKING = {
    "a node is gone": ({name: node for name, node in RECORDED.items() if name != TOY}, "ToyWorld is gone"),
    "an input is renamed": (changed(APPLY, inputs=with_input("mask", name="region")), "lost its input 'mask'"),
    "an input is gone": (
        changed(APPLY, inputs=lambda inputs: [entry for entry in inputs if entry["name"] != "mask"]),
        "lost its input 'mask'",
    ),
    "another type": (changed(APPLY, inputs=with_input("mask", type="IMAGE")), "is IMAGE and was MASK"),
    "another default": (changed(APPLY, inputs=with_input("weight", default=2.0)), "has the default 2.0 and had 1.5"),
    "a higher minimum": (changed(APPLY, inputs=with_input("weight", min=0.0)), "begins at 0.0"),
    "a lower maximum": (changed(APPLY, inputs=with_input("weight", max=5.0)), "ends at 5.0"),
    "a new limit": (changed("DomainGuidanceSaveUNet", inputs=with_input("name", max=5)), "ends at 5 and ended at None"),
    "an option is gone": (changed(APPLY, inputs=with_input("control", options=["same"])), "has lost 'none'"),
    "an optional input is required": (
        changed(APPLY, inputs=with_input("mask", optional=False)),
        "is required and was not",
    ),
    "a new required input": (
        changed(APPLY, inputs=lambda inputs: [*inputs, NEW | {"optional": False}]),
        "'new' is required",
    ),
    "a new widget in front": (changed(APPLY, inputs=lambda inputs: [NEW, *inputs]), "put it last"),
    "widgets in another order": (changed(TOY, inputs=lambda inputs: inputs[::-1]), "another order"),
    "outputs in another order": (changed(TOY, outputs=lambda outputs: outputs[::-1]), "outputs have changed"),
    "an output is gone": (changed(TOY, outputs=lambda outputs: outputs[:-1]), "outputs have changed"),
    "an output is renamed": (
        changed(TOY, outputs=lambda outputs: [{**outputs[0], "name": "x"}, *outputs[1:]]),
        "outputs have changed",
    ),
    "no longer an output node": (changed("DomainGuidanceTrain", is_output_node=lambda _: False), "keep is_output_node"),
}
ADDITIVE = {
    "a new node": RECORDED
    | {"DomainGuidanceNew": {"inputs": [NEW], "outputs": [], "hidden": [], "is_output_node": False}},
    "a new optional input": changed(APPLY, inputs=lambda inputs: [*inputs, NEW]),
    "a new output": changed(TOY, outputs=lambda outputs: [*outputs, {"name": "new", "type": "MASK"}]),
    "a wider range": changed(APPLY, inputs=with_input("weight", min=-50.0, max=50.0)),
    "a new option": changed(APPLY, inputs=with_input("control", options=["new", "same", "none"])),
    "a required input is optional": changed(APPLY, inputs=with_input("domain_model", optional=True)),
}


@pytest.mark.parametrize("case", BREAKING)
def test_a_change_that_breaks_saved_workflows_is_told_in_one_sentence(case):
    nodes, told = BREAKING[case]
    (sentence,) = node_contract.breaking(RECORDED, nodes)
    assert told in sentence and sentence.endswith(".")


@pytest.mark.parametrize("case", ADDITIVE)
def test_an_addition_breaks_nothing(case):
    assert ADDITIVE[case] != RECORDED and list(node_contract.breaking(RECORDED, ADDITIVE[case])) == []
