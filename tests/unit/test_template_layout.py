"""What can be held of the templates' layout: nothing lies over anything else, all of it is drawn with its text, groups
stand around their nodes, and every wire can be followed.
"""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
# What grows while it works, and by how many pixels of sentences and pictures.
GROWTH = {
    "DomainGuidanceTrain": 450,
    "DomainGuidanceAdaptGenerator": 450,
    "DomainGuidanceInvertImage": 300,
    "DomainGuidanceViewGenerator": 300,
}
TITLE = 30  # pixels above a node's position

sys.path.append(str(ROOT / "docs"))
import template_layout
import template_wires
from template_layout import Rectangle, group, place, row, stack


@pytest.fixture(params=TEMPLATES, ids=lambda path: path.stem)
def template(request):
    return request.param


@pytest.fixture
def workflow(template):
    return json.loads(template.read_text(encoding="utf-8"))


@pytest.fixture
def nodes(workflow):
    return workflow["nodes"]


def box(node):
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - TITLE, left + width, top + height


def frame(group):
    left, top, width, height = group["bounding"]
    return left, top, left + width, top + height


def over(one, other):
    (a, b, c, d), (e, f, g, h) = one, other
    return a < g and e < c and b < h and f < d


def inside(one, other):
    (a, b, c, d), (e, f, g, h) = one, other
    return e <= a and f <= b and c <= g and d <= h


def pairs_over(named):
    return [
        (one, other) for number, (here, one) in enumerate(named) for there, other in named[:number] if over(here, there)
    ]


def test_no_node_lies_over_another(nodes):
    assert pairs_over([(box(node), f"{node['type']} {node['id']}") for node in nodes]) == []


def test_below_a_node_that_grows_while_it_works_there_is_nothing(nodes):
    """A run's sentences, its previews and its curves appear at its node."""
    for node in nodes:
        left, _, right, bottom = box(node)
        room = left, bottom, right, bottom + GROWTH.get(node["type"], 0)
        assert [other["type"] for other in nodes if other is not node and over(box(other), room)] == []


def test_a_window_draws_the_text(workflow):
    """The frontend draws none below a zoom of 0.571: a graph 2,091 wide reaches it in a window of 1,600 by 1,000, and
    one 1,241 high in a window of 1,920 by 950.
    """
    lefts, tops, rights, bottoms = zip(*map(box, workflow["nodes"]), *map(frame, workflow["groups"]))
    assert max(rights) - min(lefts) <= template_layout.WIDEST
    assert max(bottoms) - min(tops) <= template_layout.HIGHEST


def test_every_node_stands_in_one_group_with_a_title_and_no_group_lies_over_another(workflow):
    groups = workflow["groups"]
    assert groups and all(group["title"] for group in groups)
    assert pairs_over([(frame(group), group["title"]) for group in groups]) == []
    for node in workflow["nodes"]:
        around = [group["title"] for group in groups if inside(box(node), frame(group))]
        touched = [group["title"] for group in groups if over(box(node), frame(group))]
        assert around == touched and len(around) == (node["type"] != "MarkdownNote"), node["type"]


def test_a_note_has_room_for_its_text_and_not_much_more(nodes):
    for note in (node for node in nodes if node["type"] == "MarkdownNote"):
        width, height = note["size"]
        text = note["widgets_values"][0]
        assert text.startswith("# ") and text.split("\n\n")[1].startswith("## ")
        needed = template_layout.note_height(text, width)
        assert needed <= height <= 1.1 * needed


def test_no_wire_runs_under_a_node_or_a_note(workflow):
    covered = template_wires.boxes(workflow["nodes"])
    hidden = [
        link
        for link, points in template_wires.ways(workflow)
        if template_layout.under(list(template_wires.drawn(points))[1:-1], covered.values(), template_wires.TOLERANCE)
    ]
    assert hidden == []


def test_a_template_reads_from_left_to_right_and_then_on_in_the_next_row(workflow):
    nodes = {node["id"]: box(node) for node in workflow["nodes"]}
    ends = [(nodes[link[1]], nodes[link[3]], link) for link in workflow["links"]]
    back = [link for here, there, link in ends if there[2] <= here[0] and there[1] <= here[1]]
    assert back == []


def test_a_wire_that_a_node_would_hide_goes_around_it_and_one_in_sight_stays():
    def node(number, x):
        return {"id": number, "pos": [x, 0], "size": [200, 100]}

    nodes = [node(1, 0), node(2, 300), node(3, 600)]
    links = [[1, 1, 0, 2, 0, "MODEL"], [2, 1, 0, 3, 0, "MODEL"]]
    extra = template_wires.routed(nodes, links, [])
    assert [link["id"] for link in extra["linkExtensions"]] == [2]
    workflow = {"nodes": nodes, "links": links, "extra": extra}
    covered = template_wires.boxes(nodes).values()
    for _, points in template_wires.ways(workflow):
        assert not template_layout.under(list(template_wires.drawn(points))[1:-1], covered, template_wires.TOLERANCE)


def test_groups_stand_beside_and_below_each_other_around_their_columns():
    sizes = dict.fromkeys((1, 2, 3, 4), (100, 50))
    placed = place(row(stack(group("A", [1]), group("B", [2])), group("C", [3], [4])), sizes)
    frames = {found.title: where for found, where in placed.groups}
    assert frames["A"].left == frames["B"].left == 0 and frames["A"].bottom < frames["B"].top
    assert frames["A"].right < frames["C"].left and frames["C"].top == 0
    assert placed.nodes[3].right < placed.nodes[4].left and placed.nodes[3].top == placed.nodes[4].top
    for title, ids in (("A", [1]), ("B", [2]), ("C", [3, 4])):
        for number in ids:
            node = placed.nodes[number]
            titled = Rectangle(node.left, node.top - TITLE, node.right, node.bottom)
            assert inside(
                (titled.left, titled.top, titled.right, titled.bottom),
                (frames[title].left, frames[title].top, frames[title].right, frames[title].bottom),
            )
