"""What can be held of the templates' layout: nothing lies over anything else, and all of it is drawn with its text."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
# Three stages one below the other, each a window high: it opens without text, and one zooms in on a stage.
LARGER = {"22-picture-to-mesh-in-a-domain"}
TITLE = 30  # pixels above a node's position

sys.path.append(str(ROOT / "docs"))
import tidy_templates


@pytest.fixture(params=TEMPLATES, ids=lambda path: path.stem)
def template(request):
    return request.param


@pytest.fixture
def nodes(template):
    return json.loads(template.read_text(encoding="utf-8"))["nodes"]


def box(node):
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - TITLE, left + width, top + height


def test_no_node_lies_over_another(nodes):
    boxes = [(box(node), f"{node['type']} {node['id']}") for node in nodes]
    over = [
        (one, other)
        for number, ((a, b, c, d), one) in enumerate(boxes)
        for (e, f, g, h), other in boxes[:number]
        if a < g and e < c and b < h and f < d
    ]
    assert over == []


def test_a_window_of_1600_pixels_draws_the_text(nodes, template):
    """The frontend draws none below a zoom that a graph 2,080 wide or 1,296 high reaches there."""
    lefts, tops, rights, bottoms = zip(*map(box, nodes))
    assert max(rights) - min(lefts) <= tidy_templates.WIDEST
    assert max(bottoms) - min(tops) <= tidy_templates.HIGHEST or template.stem in LARGER


def test_a_template_that_is_narrow_enough_is_left_alone(nodes):
    before = json.dumps(nodes)
    assert not tidy_templates.tidy({"nodes": nodes}) and json.dumps(nodes) == before


def test_a_graph_that_is_too_wide_keeps_its_order_and_its_rows():
    def node(kind, x, y, width=300):
        return {"type": kind, "pos": [x, y], "size": [width, 200]}

    workflow = {"nodes": [node("A", 0, 0), node("B", 900, 0), node("C", 1700, 300), node("PreviewImage", 2400, 0, 560)]}
    assert tidy_templates.tidy(workflow)
    assert [node["pos"] for node in workflow["nodes"]] == [[0, 0], [350, 0], [700, 300], [1050, 0]]
