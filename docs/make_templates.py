#!/usr/bin/env python3
"""Lays out the templates: `cd ComfyUI; python <pack>/docs/make_templates.py [name ...]`.

A template's graph is its API twin in tests/workflows/, and what it says and in which order it shows its nodes is in
template_plans.py. This writes workflows/<name>.json from both, with the host's schemas. An input that a node has gained
since gets its default value, in the twin as well. Run it after changing a twin, a plan or a node's inputs.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TWINS, WORKFLOWS = ROOT / "tests" / "workflows", ROOT / "workflows"
sys.path.append(str(ROOT / "docs"))

from template_apps import APPS
from template_layout import Note, Rectangle, place
from template_plans import NARROW, PLANS
from template_wires import routed

HUGGING_FACE = "https://huggingface.co/"
# Files that a loader offers to fetch: the folder in models/, and the address.
FILES = {
    "v1-5-pruned-emaonly-fp16.safetensors": (
        "checkpoints",
        "Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
    ),
    "DreamShaper_8_pruned.safetensors": (
        "checkpoints",
        "Lykon/DreamShaper/resolve/main/DreamShaper_8_pruned.safetensors",
    ),
    "hunyuan3d-dit-v2_fp16.safetensors": (
        "checkpoints",
        "Comfy-Org/hunyuan3D_2.0_repackaged/resolve/main/split_files/hunyuan3d-dit-v2_fp16.safetensors",
    ),
    "control_v11p_sd15_scribble_fp16.safetensors": (
        "controlnet",
        "comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/control_v11p_sd15_scribble_fp16.safetensors",
    ),
    "control_v11f1p_sd15_depth_fp16.safetensors": (
        "controlnet",
        "comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/control_v11f1p_sd15_depth_fp16.safetensors",
    ),
    "ip-adapter_sd15.safetensors": ("ipadapter", "h94/IP-Adapter/resolve/main/models/ip-adapter_sd15.safetensors"),
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors": (
        "clip_vision",
        "h94/IP-Adapter/resolve/main/models/image_encoder/model.safetensors",
    ),
}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
CONTROLLED = ("seed", "noise_seed")  # the frontend adds a widget of its own, unless the schema says not to
ROW, WIDGET = 20, 24  # pixels of a socket and of a widget
# Nodes 2.0: above the widgets, a widget, what a line of text takes more; the badge of a pack, the advanced inputs.
NODES_2 = {"inside": 14, "widget": 28, "text": 8, "badge": 24, "advanced": 24}
WIDE = 250
# What a node needs for more than its sockets and widgets.
SIZES = {
    "CLIPTextEncode": (WIDE, 102),
    "LoadImage": (WIDE, 330),
    "PreviewImage": (320, 262),
    "SaveImage": (320, 262),
    "PreviewAny": (420, 330),
    "SaveGLB": (380, 330),
    "DomainGuidanceEvaluate": (WIDE, 400),  # it shows its picture, too
}
# Whose pictures are higher than wide, with words in them.
TALL, TALL_SIZE = {"DomainGuidanceReport", "DomainGuidanceEvaluate"}, (400, 560)
GROUPS = {"Your": "#6fa8dc", "The domain": "#b4a0e5"}
GROUP = "#8fc79a"


def inputs_of(node_class: Any) -> dict[str, tuple[str, dict[str, Any], bool]]:
    """`{input: (type, options, optional)}` in the schema's order."""
    found = {}
    for part in ("required", "optional"):
        for name, spec in node_class.INPUT_TYPES().get(part, {}).items():
            kind, options = spec[0], dict(spec[1]) if len(spec) > 1 else {}
            if isinstance(kind, list):
                kind, options = "COMBO", {"options": kind, **options}
            found[name] = (kind, options, part == "optional")
    return found


def is_widget(kind: str, options: dict[str, Any]) -> bool:
    return kind in WIDGETS and not options.get("forceInput")


def default_of(options: dict[str, Any]) -> Any:
    return options["default"] if "default" in options else (options.get("options") or [None])[0]


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


class Template:
    """One template: its twin as `graph`, and the frontend's file of it."""

    def __init__(self, name: str, classes: dict[str, Any], titles: dict[str, str]):
        self.name, self.classes, self.titles = name, classes, titles
        self.graph = json.loads((TWINS / f"{name}.api.json").read_text(encoding="utf-8"))
        self.app = APPS.get(name)
        self.links: list[list[Any]] = []
        self.nodes = {int(node): self._node(int(node), content) for node, content in self.graph.items()}
        for link, source, slot, *_ in self.links:
            output = self.nodes[source]["outputs"][slot]
            output["links"] = [*(output["links"] or []), link]

    def _node(self, number: int, content: dict[str, Any]) -> dict[str, Any]:
        kind = content["class_type"]
        node_class, own = self.classes[kind], kind.startswith("DomainGuidance")
        sockets, widgets, values = [], [], []
        for name, (input_kind, options, optional) in inputs_of(node_class).items():
            entry = {"name": name, **({"shape": 7} if optional else {}), "type": input_kind}
            if not is_widget(input_kind, options):
                sockets.append(entry)
                continue
            entry["widget"] = {"name": name}
            widgets.append(entry)
            values.append(content["inputs"].setdefault(name, default_of(options)))
            if options.get("control_after_generate", name in CONTROLLED):
                values.append("fixed")
            if options.get("image_upload"):
                widgets.append({"name": "upload", "type": "IMAGEUPLOAD", "widget": {"name": "upload"}, "link": None})
                values.append("image")
        labels = self.app.labels(number) if self.app else {}
        for slot, entry in enumerate([*sockets, *widgets]):
            if entry["name"] in labels:
                entry["label"] = labels[entry["name"]]
            value = content["inputs"].get(entry["name"])
            entry["link"] = self._link(value, number, slot, entry["type"]) if is_link(value) else None
        packed = {"cnr_id": "domain-guidance", "ver": "0.1.0"} if own else {"cnr_id": "comfy-core", "ver": "0.33.0"}
        files = [value for value in values if isinstance(value, str) and value in FILES]
        models = [{"name": f, "url": HUGGING_FACE + FILES[f][1], "directory": FILES[f][0]} for f in files]
        names = getattr(node_class, "RETURN_NAMES", None) or node_class.RETURN_TYPES
        node = {
            "id": number,
            "type": kind,
            "pos": [0, 0],
            "size": list(self._size(content, node_class, sockets, values)),
            "flags": {},
            "order": 0,
            "mode": 0,
            "inputs": [*sockets, *widgets],
            "outputs": [
                {"name": name or shown, "type": shown, "links": None}
                for shown, name in zip(node_class.RETURN_TYPES, names)
            ],
            "properties": {**packed, "Node name for S&R": kind, **({"models": models} if models else {})},
            "widgets_values": values,
        }
        title = content["_meta"]["title"]
        return node | ({"title": title} if title != self.titles.get(kind, kind) else {})

    def _link(self, value: list[Any], target: int, slot: int, kind: str) -> int:
        number = len(self.links) + 1
        source = self.classes[self.graph[value[0]]["class_type"]]
        self.links.append([number, int(value[0]), value[1], target, slot, source.RETURN_TYPES[value[1]]])
        return number

    def _size(
        self, content: dict[str, Any], node_class: Any, sockets: list[Any], values: list[Any]
    ) -> tuple[float, float]:
        kind, shown = content["class_type"], content["inputs"].get("images")
        if kind == "PreviewImage" and self.graph[shown[0]]["class_type"] in TALL:
            return TALL_SIZE
        rows = max(len(sockets), len(node_class.RETURN_TYPES), 1)
        needed = ROW * rows + 6 + (WIDGET * len(values) + 8 if values else 0)
        wide, high = SIZES.get(kind, (WIDE, 0))
        if kind != "SaveGLB":
            wide = min(wide, NARROW.get(self.name, wide))
        return wide, max(high, needed, 0 if kind in SIZES else _nodes_2_height(node_class, rows))

    def workflow(self) -> dict[str, Any]:
        """The frontend's file: nodes in reading order, notes last."""
        placed = place(PLANS[self.name], {number: tuple(node["size"]) for number, node in self.nodes.items()})
        if missing := set(self.nodes) ^ set(placed.nodes):
            raise ValueError(f"{self.name}: the plan and the twin do not agree on the nodes {sorted(missing)}.")
        for number, rectangle in placed.nodes.items():
            self.nodes[number]["pos"] = [rectangle.left, rectangle.top]
        nodes = [self.nodes[number] for number in sorted(self.nodes)]
        last = max(self.nodes)
        notes = [_note(last + 1 + index, *found) for index, found in enumerate(placed.notes)]
        for order, node in enumerate([*nodes, *notes]):
            node["order"] = order
        groups = [_group(index + 1, *found) for index, found in enumerate(placed.groups)]
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, self.name)),
            "revision": 0,
            "last_node_id": last + len(notes),
            "last_link_id": len(self.links),
            "nodes": [*nodes, *notes],
            "links": self.links,
            "groups": groups,
            "config": {},
            "extra": routed([*nodes, *notes], self.links, groups) | (self.app.extra() if self.app else {}),
            "version": 0.4,
        }


def _nodes_2_height(node_class: Any, rows: int) -> float:
    """What Nodes 2.0 needs, which hides the advanced widgets and makes the others higher."""
    widgets = [(kind, options) for kind, options, _ in inputs_of(node_class).values() if is_widget(kind, options)]
    shown = [(kind, options) for kind, options in widgets if not options.get("advanced")]
    lines = sum(kind == "STRING" for kind, _ in shown)
    foreign = getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes").startswith("custom_nodes")
    return (
        ROW * rows
        + NODES_2["inside"]
        + NODES_2["widget"] * len(shown)
        + NODES_2["text"] * lines
        + NODES_2["badge"] * foreign
        + NODES_2["advanced"] * (len(shown) < len(widgets))
    )


def _note(number: int, note: Note, where: Rectangle) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [where.left, where.top],
        "size": [where.width, where.height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "What this does, and what it needs",
        "properties": {},
        "widgets_values": [note.text],
        "color": "#2a363b",
        "bgcolor": "#3f5159",
    }


def _group(number: int, group: Any, where: Rectangle) -> dict[str, Any]:
    colour = next((colour for begin, colour in GROUPS.items() if group.title.startswith(begin)), GROUP)
    return {
        "id": number,
        "title": group.title,
        "bounding": [where.left, where.top, where.width, where.height],
        "color": colour,
        "flags": {},
    }


def written(workflow: dict[str, Any]) -> str:
    """The workflow as JSON, one line for each node, link and group."""
    lines = []
    for key, value in workflow.items():
        if key in ("nodes", "links", "groups") and value:
            rows = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f'  "{key}": [\n    {rows}\n  ]')
        else:
            lines.append(f'  "{key}": {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(names: list[str]) -> int:
    sys.path[:0] = [os.getcwd()]
    sys.path += [str(ROOT / "tests" / "host")]
    import host_process

    with tempfile.TemporaryDirectory() as folder:
        base = host_process.make_base_directory(Path(folder))
        host = host_process.start(base)
        host_process.load_pack(host_process.install_pack(base))
        if host_process.IP_ADAPTER_PACK.is_dir():
            host_process.load_pack(host_process.IP_ADAPTER_PACK)
        for name in names or PLANS:
            template = Template(name, host.NODE_CLASS_MAPPINGS, host.NODE_DISPLAY_NAME_MAPPINGS)
            (WORKFLOWS / f"{name}.json").write_text(written(template.workflow()), encoding="utf-8", newline="\n")
            twin = json.dumps(template.graph, indent=2, ensure_ascii=False) + "\n"
            (TWINS / f"{name}.api.json").write_text(twin, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    chosen, sys.argv[1:] = sys.argv[1:], []  # the host reads them, too
    sys.exit(main(chosen))
