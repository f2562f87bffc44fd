"""What saved workflows rely on: the inputs and outputs of every node, described as plain JSON values, and what may
change of them.
"""

import contextlib

FACTS = ("default", "min", "max", "step", "options")
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
FILES, SAMPLERS = "files of this machine", "samplers or schedulers of this ComfyUI"


def describe(nodes, base_directory):
    """`{node id: {"inputs": [...], "outputs": [...], "hidden": [...], "is_output_node": bool}}` of the node classes.

    A combo that lists files is told by a probe file in every folder of the base directory: its options are `FILES`.
    What the host lists as its samplers and schedulers is `SAMPLERS`. Neither belongs to the pack.
    """
    before = {name: _inputs(node) for name, node in nodes.items()}
    with _probe_files(base_directory):
        after = {name: _inputs(node) for name, node in nodes.items()}
    return {
        name: _node(node, [_without_files(*pair) for pair in zip(before[name], after[name])])
        for name, node in sorted(nodes.items())
    }


def breaking(recorded, live):
    """One sentence for each change that a saved workflow or prompt would notice."""
    for name, old in recorded.items():
        if name not in live:
            yield f"{name} is gone: keep the node, deprecated if need be."
            continue
        yield from _broken_inputs(name, old["inputs"], live[name]["inputs"])
        yield from _broken_outputs(name, old, live[name])


def _inputs(node):
    declared = node.INPUT_TYPES()
    return [
        _input(name, spec, optional=group == "optional")
        for group in ("required", "optional")
        for name, spec in declared.get(group, {}).items()
    ]


def _input(name, spec, optional):
    kind, facts = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, list):
        kind, facts = "COMBO", facts | {"options": kind}
    if facts.get("options") in _host_lists():
        facts = {**facts, "options": SAMPLERS}
    return {"name": name, "type": kind, "optional": optional} | {
        fact: facts[fact] for fact in FACTS if facts.get(fact) is not None
    }


def _host_lists():
    from comfy.samplers import KSampler

    return [KSampler.SAMPLERS, KSampler.SCHEDULERS]


def _without_files(before, after):
    return before if before == after else before | {"options": FILES}


def _node(node, inputs):
    outputs = [{"name": name, "type": kind} for name, kind in zip(node.RETURN_NAMES, node.RETURN_TYPES)]
    return {
        "inputs": inputs,
        "outputs": outputs,
        "hidden": sorted(node.INPUT_TYPES().get("hidden", {})),
        "is_output_node": bool(node.OUTPUT_NODE),
    }


@contextlib.contextmanager
def _probe_files(base_directory):
    files = [folder / "contract_probe.safetensors" for folder in (base_directory / "models").iterdir()]
    folder = base_directory / "input" / "contract_probe"
    folder.mkdir()
    for file in files:
        file.touch()
    try:
        yield
    finally:
        folder.rmdir()
        for file in files:
            file.unlink()


def _broken_inputs(node, old, new):
    known, now = {entry["name"] for entry in old}, {entry["name"]: entry for entry in new}
    for entry in old:
        if entry["name"] not in now:
            yield f"{node} has lost its input '{entry['name']}': keep it, and ignore it if need be."
        else:
            yield from _broken_input(f"{node}'s input '{entry['name']}'", entry, now[entry["name"]])
    for name, entry in now.items():
        if name not in known and not entry["optional"]:
            yield f"{node}'s new input '{name}' is required: make it optional, with the old behaviour as its default."
    widgets = [[entry["name"] for entry in entries if entry["type"] in WIDGETS] for entries in (old, new)]
    kept = [name for name in widgets[1] if name in known]
    if widgets[1][: len(widgets[0])] != widgets[0] and kept == widgets[0]:
        yield f"{node} has a new widget before old ones, which shifts the values in saved workflows: put it last."
    elif kept != widgets[0] and set(kept) == set(widgets[0]):
        yield f"{node}'s widgets are in another order, which shifts the values in saved workflows: put them back."


def _broken_input(where, old, new):
    if new["type"] != old["type"]:
        yield f"{where} is {new['type']} and was {old['type']}: add another input instead."
    if old["optional"] and not new["optional"]:
        yield f"{where} is required and was not: keep it optional."
    if new.get("default") != old.get("default"):
        yield f"{where} has the default {new.get('default')} and had {old.get('default')}: keep the old default."
    if new.get("min", old.get("min")) != old.get("min") and ("min" not in old or new["min"] > old["min"]):
        yield f"{where} begins at {new['min']} and began at {old.get('min')}: widen ranges only."
    if new.get("max", old.get("max")) != old.get("max") and ("max" not in old or new["max"] < old["max"]):
        yield f"{where} ends at {new['max']} and ended at {old.get('max')}: widen ranges only."
    if isinstance(old.get("options"), list) and (
        gone := [option for option in old["options"] if option not in new.get("options", [])]
    ):
        yield f"{where} has lost {', '.join(map(repr, gone))}: keep every option."


def _broken_outputs(node, old, new):
    if new["outputs"][: len(old["outputs"])] != old["outputs"]:
        yield f"{node}'s outputs have changed: keep them in order, with name and type, and put new ones last."
    if old["is_output_node"] and not new["is_output_node"]:
        yield f"{node} no longer runs by itself: keep is_output_node."
