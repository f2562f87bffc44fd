"""What the pack's nodes say in the real frontend: whole sentences, the newest first, until the node runs again."""

import pytest

SAID = """() => Object.fromEntries(app.graph.nodes.flatMap(node => (node.widgets ?? [])
    .filter(widget => widget.name === "domain_guidance_message")
    .map(({element}) => [node.id, {
        sentences: [...element.firstChild.children].map(line => line.textContent),
        needed: element.firstChild.offsetHeight, given: element.clientHeight, visible: element.checkVisibility(),
    }])))"""
BURNT = "images tend to burn"


@pytest.fixture
def graph(server, open_frontend):
    """A page with the template of Train Domain, and the ids of its nodes by their types."""
    frontend = open_frontend(server.address)
    workflow = frontend.drop_template("07-train-a-domain")
    ids = {}
    for node in workflow["nodes"]:
        ids.setdefault(node["type"], []).append(str(node["id"]))
    return frontend, ids


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "Nodes 2.0"])
def test_a_training_says_what_it_made_and_advice_goes_when_it_is_followed(graph, server, nodes_2):
    frontend, ids = graph
    frontend.nodes_2(nodes_2)
    try:
        (train,), (apply,) = ids["DomainGuidanceTrain"], ids["DomainGuidanceApply"]
        frontend.set_widget(train, "steps", 3)
        frontend.set_widget(train, "save_name", f"said {nodes_2}")
        frontend.set_widget(apply, "weight", 9)
        frontend.make(server)
        frontend.page.wait_for_function(f"id => ({SAID})()[id]?.sentences[0].includes('saved')", arg=train)
        said = frontend.page.evaluate(SAID)
        assert said[train]["sentences"][0].startswith(
            f"The training has finished its 3 steps and saved 'output/loras/said {nodes_2}."
        )
        (burnt,) = [node for node in said if node != train]
        assert burnt in ids["KSampler"] and BURNT in said[burnt]["sentences"][0]
        assert said[burnt]["visible"] and said[train]["visible"]
        assert said[burnt]["needed"] <= said[burnt]["given"], "each sentence is whole"
        frontend.set_widget(train, "steps", 4)
        frontend.make(server)
        frontend.page.wait_for_function(f"id => ({SAID})()[id]?.sentences[0].includes('its 4 steps')", arg=train)
        (shown,) = frontend.page.get_by_role("status").filter(has_text="The training has finished").all_inner_texts()
        assert "its 4 steps" in shown and "its 3 steps" not in shown, "a second run's sentences take the first's place"
        frontend.set_widget(apply, "weight", 1.5)
        frontend.make(server)
        frontend.page.wait_for_function(f"id => !(id in ({SAID})())", arg=burnt)
        assert train in frontend.page.evaluate(SAID), "what did not run again says what it said"
        assert (
            frontend.page.evaluate("() => JSON.stringify(app.graph.serialize())").count("domain_guidance_message") == 0
        )
    finally:
        frontend.nodes_2(False)
    assert frontend.errors == []
