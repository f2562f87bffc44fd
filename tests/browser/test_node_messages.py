"""What the pack's nodes say in the real frontend: whole sentences, the newest first, until the node runs again."""

import pytest

SAID = """() => Object.fromEntries(app.graph.nodes.flatMap(node => (node.widgets ?? [])
    .filter(widget => widget.name === "domain_guidance_message")
    .map(({element}) => [node.id, {
        sentences: [...element.firstChild.children].map(line => line.textContent),
        needed: element.firstChild.offsetHeight, given: element.clientHeight, visible: element.checkVisibility(),
    }])))"""
SENTENCES = "id => app.graph.getNodeById(id).widgets.find(({name}) => name === 'domain_guidance_message')" + (
    "?.element.innerText ?? ''"
)
EVENT = "([name, detail]) => app.api.dispatchEvent(new CustomEvent(name, {detail}))"
RECONNECTED = "() => app.api.addEventListener('reconnected', () => { window.reconnected = true })"
# A prompt of another workflow, in the form of the server's queue.
RUNNING = {"queue_running": [[1, "another", {}, {"extra_pnginfo": {"workflow": {"id": "another"}}}, []]]}
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
            f"The training has finished its 3 steps and saved 'output/side_networks/said {nodes_2}."
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


def wait_for_sentence(frontend, node, text):
    frontend.page.wait_for_function(
        f"([id, text]) => ({SENTENCES})(id).includes(text)", arg=[node, text], timeout=180_000, polling=200
    )


def run_until(frontend, node, text, **values):
    """Run the training with these values until it says `text`."""
    for name, value in values.items():
        frontend.set_widget(node, name, value)
    frontend.page.evaluate(RECONNECTED)
    frontend.run()
    wait_for_sentence(frontend, node, text)


def wait_for_end(frontend, server, before):
    while len(server.get("/history")) == before:
        server.check_alive("training")
        frontend.page.wait_for_timeout(200)


def test_what_a_node_has_said_stands_after_the_connection_was_lost(graph, server):
    frontend, ids = graph
    (train,) = ids["DomainGuidanceTrain"]
    before = len(server.get("/history"))
    # A preset that goes before the numbers on the node: said once, at the beginning.
    run_until(frontend, train, "Step ", preset="good", save_name="connection lost")
    first = frontend.page.evaluate(SAID)[train]["sentences"][-1]
    assert "Step " not in first
    with frontend.page.expect_response(lambda answer: "domain_guidance/messages" in answer.url):
        frontend.page.evaluate("app.api.socket.close()")
        frontend.page.wait_for_function("window.reconnected")
    frontend.page.wait_for_timeout(1000)
    assert first in frontend.page.evaluate(SAID)[train]["sentences"]
    frontend.page.evaluate("app.api.interrupt()")
    wait_for_end(frontend, server, before)
    assert frontend.errors == []


def test_a_training_that_ended_while_the_connection_was_lost_is_told_of_when_it_is_back(graph, server):
    frontend, ids = graph
    (train,) = ids["DomainGuidanceTrain"]
    before = len(server.get("/history"))
    run_until(frontend, train, "Step ", steps=40, save_name="ended unheard")
    frontend.page.context.set_offline(True)
    frontend.page.evaluate("app.api.socket.close()")
    wait_for_end(frontend, server, before)
    assert "has finished" not in frontend.page.evaluate(SENTENCES, train)
    frontend.page.context.set_offline(False)
    wait_for_sentence(frontend, train, "The training has finished its 40 steps")
    assert "Step " not in frontend.page.evaluate(SENTENCES, train)


def test_a_node_of_another_workflow_that_works_when_the_page_is_loaded_takes_no_sentence_away(graph):
    frontend, ids = graph
    (train,) = ids["DomainGuidanceTrain"]
    frontend.page.route("**/api/queue", lambda route: route.fulfill(json={**RUNNING, "queue_pending": []}))
    frontend.page.evaluate(EVENT, ["domain_guidance.node_message", {"node": train, "slot": "a", "text": "Said here."}])
    frontend.page.evaluate(EVENT, ["executing", train])
    frontend.page.wait_for_timeout(1000)
    assert frontend.page.evaluate(SENTENCES, train) == "Said here."
    assert frontend.errors == []


def test_a_node_that_is_told_of_twice_keeps_what_it_said_in_between(graph):
    frontend, ids = graph
    (train,) = ids["DomainGuidanceTrain"]
    said = {"prompt": "one", "node": train, "slot": "a", "text": "Said here."}
    for event in (
        ["execution_start", {"prompt_id": "one"}],
        ["executing", train],
        ["domain_guidance.node_message", said],
        ["executing", train],
    ):
        frontend.page.evaluate(EVENT, event)
    frontend.page.wait_for_timeout(1000)
    assert frontend.page.evaluate(SENTENCES, train) == "Said here."
    for event in (["execution_start", {"prompt_id": "two"}], ["executing", train]):
        frontend.page.evaluate(EVENT, event)
    frontend.page.wait_for_timeout(1000)
    assert frontend.page.evaluate(SENTENCES, train) == "", "a second run's sentences take the first's place"
