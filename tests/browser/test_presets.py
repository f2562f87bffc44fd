"""The choice of a preset in the real frontend, in the classic view and in Nodes 2.0."""

import pytest

VALUES = "id => Object.fromEntries(app.graph.getNodeById(id).widgets.map(widget => [widget.name, widget.value]))"
# As LiteGraph does where a value is entered on its canvas.
ENTER = """([id, name, value]) => {
    const node = app.graph.getNodeById(id)
    const widget = node.widgets.find(widget => widget.name === name)
    widget.setValue(value, {e: new PointerEvent("pointerup"), node, canvas: app.canvas})
}"""
NEAR = """id => {
    const node = app.graph.getNodeById(id)
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [200 - node.pos[0], 150 - node.pos[1]]
    app.canvas.setDirty(true, true)
}"""


@pytest.fixture
def training(server, open_frontend):
    """A page with the template of Train Domain, and that node's id."""
    frontend = open_frontend(server.address)
    workflow = frontend.drop_template("07-train-a-domain")
    (node,) = [str(node["id"]) for node in workflow["nodes"] if node["type"] == "DomainGuidanceTrain"]
    return frontend, node


def test_choosing_a_preset_fills_the_fields_that_it_sets_and_a_number_of_ones_own_ends_it(training):
    frontend, node = training
    before = frontend.page.evaluate(VALUES, node)
    assert before["preset"] == "own"
    frontend.page.evaluate(ENTER, [node, "preset", "good"])
    filled = frontend.page.evaluate(VALUES, node)
    assert {name for name in filled if filled[name] != before[name]} <= {
        "preset",
        "steps",
        "batch_size",
        "accumulation",
        "evaluate_every",
        "preview_every",
    }
    assert (filled["steps"], filled["batch_size"], filled["accumulation"]) == (1000, 1, 4)
    assert frontend.prompt()[node]["inputs"]["preset"] == "good"
    frontend.page.evaluate(ENTER, [node, "learning_rate", 0.5])  # no preset sets it
    assert frontend.page.evaluate(VALUES, node)["preset"] == "good"
    frontend.page.evaluate(ENTER, [node, "steps", 1234])
    entered = frontend.page.evaluate(VALUES, node)
    assert (entered["preset"], entered["steps"], entered["accumulation"]) == ("own", 1234, 4)
    assert frontend.errors == []


def test_in_nodes_2_the_node_shows_five_fields_and_a_preset_fills_them_too(training):
    frontend, node = training
    frontend.nodes_2(True)
    try:
        frontend.page.evaluate(NEAR, node)
        shown = frontend.page.locator(f'[data-node-id="{node}"]')
        shown.get_by_text("Show advanced inputs").wait_for()
        for name in ("form", "steps", "save_name", "folder", "preset"):
            assert shown.get_by_text(name, exact=True).is_visible()
        for name in ("learning_rate", "on_existing", "rank"):
            assert shown.get_by_text(name, exact=True).count() == 0
        shown.get_by_role("combobox").last.click()
        frontend.page.get_by_role("option", name="best", exact=True).click()
        frontend.page.wait_for_function(f"id => ({VALUES})(id).steps === 5000", arg=node)
    finally:
        frontend.nodes_2(False)
    assert frontend.errors == []
