"""Brings the templates below the width at which ComfyUI still draws text: `python docs/tidy_templates.py`.

The frontend fits a workflow into its window and draws no text below a zoom of about 0.57, which a window of 1,600 by
1,000 pixels reaches with a graph 2,080 wide or 1,296 high. So the empty strips between columns of nodes are narrowed, a
note to the left of the graph goes above it, and what is still too wide shows its pictures smaller. A template that is
narrow enough is left alone.
"""

from __future__ import annotations

import json
from pathlib import Path

WORKFLOWS = Path(__file__).parents[1] / "workflows"
WIDEST, HIGHEST = 2050, 1290
TITLE = 30  # pixels of a node's title, above its position
STRIP = 50  # between columns, where wires turn
PICTURES, WIDTHS = ("PreviewImage", "SaveImage"), (560, 480, 420, 360, 320)
CHARACTER, LINE = 7.6, 23  # of a note's text


def extent(nodes, axis):
    """Begin and end of the nodes along an axis, titles included."""
    ends = [spans(node, axis) for node in nodes]
    return min(begin for begin, _ in ends), max(end for _, end in ends)


def spans(node, axis):
    begin = node["pos"][axis]
    return begin - (TITLE if axis else 0), begin + node["size"][axis]


def narrow(nodes):
    """Shift what lies behind an empty strip between columns, so that the strip is at most `STRIP` wide."""
    shift, reached = 0, None
    for node in sorted(nodes, key=lambda node: node["pos"][0]):
        begin, end = spans(node, 0)
        if reached is not None and begin - reached > STRIP:
            shift += begin - reached - STRIP
        reached = end if reached is None else max(reached, end)
        node["pos"][0] -= shift


def note_height(text, width):
    """What a note's text takes, at the width of its box."""
    paragraphs = text.splitlines()
    lines = sum(max(1, -(-len(line) * CHARACTER // (width - 30))) for line in paragraphs)
    return int(lines * LINE + 12 * sum(line.startswith("#") for line in paragraphs) + 40)


def fit_note(note, graph):
    """Above the graph if it lay beside it; never into a column at its right."""
    left, right = extent(graph, 0)
    if note["pos"][0] < left:
        width = right - left
        height = note_height(note["widgets_values"][0], width)
        note["pos"], note["size"] = [left, extent(graph, 1)[0] - height - 40], [width, height]
        return
    top, bottom = spans(note, 1)
    beside = [
        node["pos"][0]
        for node in graph
        if node["pos"][0] > note["pos"][0] and spans(node, 1)[0] < bottom and spans(node, 1)[1] > top
    ]
    note["size"][0] = min([note["size"][0], *(x - STRIP // 2 - note["pos"][0] for x in beside)])


def tidy(workflow):
    """Narrow a workflow that is too wide. True if it was."""
    notes = [node for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    graph = [node for node in workflow["nodes"] if node["type"] != "MarkdownNote"]
    begin, end = extent(workflow["nodes"], 0)
    if end - begin <= WIDEST:
        return False
    for width in WIDTHS:
        for node in graph:
            if node["type"] in PICTURES:
                node["size"][0] = min(node["size"][0], width)
        narrow(graph)
        left, right = extent(graph, 0)
        if right - left <= WIDEST:
            break
    for note in notes:
        fit_note(note, graph)
    return True


def written(workflow):
    """The workflow as JSON, one line for each node and link."""
    lines = []
    for key, value in workflow.items():
        if key in ("nodes", "links") and value:
            rows = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f'  "{key}": [\n    {rows}\n  ]')
        else:
            lines.append(f'  "{key}": {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main():
    for file in sorted(WORKFLOWS.glob("*.json")):
        workflow = json.loads(file.read_text(encoding="utf-8"))
        if tidy(workflow):
            (left, right), (top, bottom) = (extent(workflow["nodes"], axis) for axis in (0, 1))
            print(f"{file.stem}: {right - left:.0f} x {bottom - top:.0f}")
            file.write_text(written(workflow), encoding="utf-8")


if __name__ == "__main__":
    main()
