"""Templates that open as apps: what their forms ask for, and which nodes' pictures they show.

The frontend opens a workflow as an app if its file says so (`extra.linearMode`), and lists templates whose names end in
`.app` as apps. A field is a widget of a node, under a label of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """node: its id. widget: by name. label, description: what the form says; the frontend cuts what is longer than
    about 30 characters.
    """

    node: int
    widget: str
    label: str
    description: str = ""


@dataclass(frozen=True)
class App:
    """fields: from the top. outputs: ids of the nodes whose pictures are shown."""

    fields: tuple[Field, ...]
    outputs: tuple[int, ...]

    def labels(self, node: int) -> dict[str, str]:
        return {field.widget: field.label for field in self.fields if field.node == node}

    def extra(self) -> dict[str, Any]:
        """What the workflow's file says of the app."""
        fields = [
            [field.node, field.widget, *([{"description": field.description}] if field.description else [])]
            for field in self.fields
        ]
        return {"linearMode": True, "linearData": {"inputs": fields, "outputs": list(self.outputs)}}


APPS = {
    "23-draw-in-a-domain.app": App(
        (
            Field(1, "ckpt_name", "Checkpoint", "Any SD 1.5 checkpoint."),
            Field(7, "save_name", "Domain name", "Trained on the pack's images."),
            Field(2, "text", "Prompt", "What to draw, not how."),
            Field(8, "weight", "Weight", "0 draws without the domain."),
            Field(9, "seed", "Seed", "Change it for a new picture."),
        ),
        (11,),
    ),
    "24-train-a-domain-from-a-folder.app": App(
        (
            Field(1, "ckpt_name", "Checkpoint", "Any SD 1.5 checkpoint."),
            Field(7, "folder", "Folder of pictures", "Inside ComfyUI's input folder."),
            Field(7, "save_name", "Domain name", "A new one is trained first."),
            Field(7, "preset", "How long", "A longer one trains further."),
            Field(2, "text", "Prompt", "What to draw, not how."),
            Field(8, "weight", "Weight", "0 draws without the domain."),
        ),
        (11, 12),
    ),
}
