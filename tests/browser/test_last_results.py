"""What a run showed at its nodes, in the real frontend, after the page was loaded anew."""

import copy
import itertools

import pytest
from frontend import READY, SAID
from real_server import real_server

# The classic view draws a node's pictures on the canvas, Nodes 2.0 has elements for them.
PICTURED = """() => app.graph.nodes.map(node => String(node.id)).filter(id =>
    [...(app.graph.getNodeById(id).imgs ?? []), ...document.querySelectorAll(`[data-node-id="${id}"] img`)]
        .some(image => image.naturalWidth)).sort()"""
INTO_SUBGRAPH = """ids => {
    const {node} = app.graph.convertToSubgraph(new Set(ids.map(id => app.graph.getNodeById(id))))
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()
    return String(node.id)
}"""
# Whether a node within a subgraph has put pictures out: they are kept by the subgraph's own name.
PICTURED_WITHIN = """id => Object.entries(app.nodeOutputs).some(([node, output]) =>
    node.startsWith(`${app.graph.getNodeById(id).subgraph.id}:`) && output.images?.length)"""
MOVE = """id => {
    app.graph.getNodeById(id).pos[0] += 10
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()
}"""
SEEDS = itertools.count(1000)  # the host runs no node again whose inputs are as they were


@pytest.fixture
def first_look(server, open_frontend):
    """A page with the first template, its workflow, and the ids of its nodes by their types."""
    return open_first_look(open_frontend(server.address))


def open_first_look(frontend):
    workflow = frontend.drop_template("01-first-look")
    ids = {}
    for node in workflow["nodes"]:
        ids.setdefault(node["type"], []).append(str(node["id"]))
    return frontend, workflow, ids


def run_burnt(frontend, ids):
    """Run with a weight at which pictures burn: pictures at two nodes, advice at one."""
    apply, *_ = ids["DomainGuidanceApply"]
    frontend.set_widget(apply, "weight", 9)
    for sampler in ids["KSampler"]:
        frontend.set_widget(sampler, "seed", next(SEEDS))
    frontend.run()
    frontend.page.wait_for_function(f"() => Object.keys(({SAID})()).length")
    wait_for_pictures(frontend, ids)
    return frontend.page.evaluate(SAID)


def wait_for_pictures(frontend, ids):
    shown = f"nodes => JSON.stringify(({PICTURED})()) === JSON.stringify(nodes)"
    frontend.page.wait_for_function(shown, arg=sorted(ids["PreviewImage"]), timeout=180_000, polling=500)


def load_anew(frontend):
    frontend.page.reload()
    frontend.page.wait_for_function(READY)


def wait_until_asked(frontend, act):
    """`act`, and wait until the page has asked for what nodes said and had time to show it."""
    with frontend.page.expect_response(lambda answer: "domain_guidance/messages" in answer.url):
        act()
    frontend.page.wait_for_timeout(500)


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "Nodes 2.0"])
def test_pictures_and_sentences_are_there_again_after_a_reload(first_look, nodes_2):
    frontend, _, ids = first_look
    frontend.nodes_2(nodes_2)
    try:
        said = run_burnt(frontend, ids)
        assert all("tend to burn" in " ".join(sentences) for sentences in said.values())
        for _ in range(2):  # also what was restored is
            load_anew(frontend)
            frontend.page.wait_for_function(f"() => Object.keys(({SAID})()).length")
            wait_for_pictures(frontend, ids)
            assert frontend.page.evaluate(SAID) == said
    finally:
        frontend.nodes_2(False)
    assert frontend.errors == []


def test_what_was_said_before_the_last_run_does_not_come_back(first_look, server):
    frontend, _, ids = first_look
    run_burnt(frontend, ids)
    apply, *_ = ids["DomainGuidanceApply"]
    frontend.set_widget(apply, "weight", 1.5)
    frontend.make(server)
    frontend.page.wait_for_function(f"() => !Object.keys(({SAID})()).length")
    wait_until_asked(frontend, lambda: load_anew(frontend))
    wait_for_pictures(frontend, ids)
    assert frontend.page.evaluate(SAID) == {}


def test_a_node_that_the_host_has_cached_shows_what_it_said_with_the_same_settings(
    host, base_directory, tmp_path, open_frontend
):
    with real_server(base_directory, tmp_path / "log.txt", options=["--cache-lru", "200"]) as server:
        frontend, _, ids = open_first_look(open_frontend(server.address))
        said = run_burnt(frontend, ids)
        apply, *_ = ids["DomainGuidanceApply"]
        for weight, stands in ((1.5, {}), (9, said), (1.5, {}), (9, said)):
            frontend.set_widget(apply, "weight", weight)
            frontend.make(server)
            frontend.page.wait_for_timeout(500)
            assert frontend.page.evaluate(SAID) == stands, weight
        run = list(server.get("/history").values())[-1]
        assert set(dict(run["status"]["messages"])["execution_cached"]["nodes"]) == set(run["prompt"][2])
        frontend.set_widget(ids["KSampler"][-1], "steps", 4)
        for _ in range(17):  # more than are looked through; each computes another row alone
            frontend.set_widget(ids["KSampler"][-1], "seed", next(SEEDS))
            frontend.make(server)
        frontend.page.wait_for_timeout(500)
        assert frontend.page.evaluate(SAID) == said
        assert frontend.errors == []


def test_a_workflow_with_the_same_node_ids_gets_nothing_of_another(first_look):
    frontend, workflow, ids = first_look
    run_burnt(frontend, ids)
    other = copy.deepcopy(workflow)
    other["id"] = "0d0c0b0a-0000-4000-8000-000000000001"
    frontend.drop("another", other)
    wait_until_asked(frontend, lambda: load_anew(frontend))
    assert frontend.page.evaluate("app.graph.id") == other["id"]
    assert (frontend.page.evaluate(PICTURED), frontend.page.evaluate(SAID)) == ([], {})


def test_what_nodes_say_while_another_workflow_is_open_does_not_stand_in_it(first_look, server):
    frontend, workflow, ids = first_look
    apply, *_ = ids["DomainGuidanceApply"]
    frontend.set_widget(apply, "weight", 9)
    for sampler in ids["KSampler"]:
        frontend.set_widget(sampler, "seed", next(SEEDS))
    other, before = copy.deepcopy(workflow), len(server.get("/history"))
    other["id"] = "0d0c0b0a-0000-4000-8000-000000000002"
    ran = frontend.page.evaluate("app.extensionManager.workflow.activeWorkflow.path")
    frontend.run()
    frontend.drop("another meanwhile", other)
    while len(server.get("/history")) == before:
        server.check_alive("making a prompt")
        frontend.page.wait_for_timeout(200)
    frontend.page.wait_for_timeout(500)
    assert frontend.page.evaluate("app.graph.id") == other["id"] and frontend.page.evaluate(SAID) == {}
    name = ran.split("/")[-1].removesuffix(".json")
    frontend.page.locator(".workflow-tabs").get_by_text(name, exact=True).click()
    frontend.page.wait_for_function(f"() => JSON.stringify(({SAID})()).includes('tend to burn')")


def test_a_node_that_is_wired_otherwise_since_gets_nothing_and_the_others_do(first_look):
    frontend, _, ids = first_look
    said = run_burnt(frontend, ids)
    (sampler,) = said
    frontend.page.evaluate(
        """id => {
            const sampler = app.graph.getNodeById(id)
            sampler.disconnectInput(sampler.inputs.findIndex(input => input.name === "model"))
            app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()
        }""",
        sampler,
    )
    frontend.page.wait_for_timeout(1000)  # until the frontend has kept the draft
    wait_until_asked(frontend, lambda: load_anew(frontend))
    assert frontend.page.evaluate(SAID) == {}
    others = len(ids["PreviewImage"]) - 1
    frontend.page.wait_for_function(f"() => ({PICTURED})().length >= {others}")
    pictured = frontend.page.evaluate(PICTURED)
    assert len(pictured) == others and set(pictured) < set(ids["PreviewImage"])


def test_a_template_that_is_opened_again_is_empty_and_one_in_the_background_is_restored_when_it_is_shown(first_look):
    frontend, workflow, ids = first_look
    said = run_burnt(frontend, ids)
    ran = frontend.page.evaluate("app.extensionManager.workflow.activeWorkflow.path")
    frontend.drop("opened again", workflow)
    frontend.page.wait_for_timeout(1000)
    assert (frontend.page.evaluate(PICTURED), frontend.page.evaluate(SAID)) == ([], {})
    load_anew(frontend)
    name = ran.split("/")[-1].removesuffix(".json")
    wait_until_asked(frontend, lambda: frontend.page.locator(".workflow-tabs").get_by_text(name, exact=True).click())
    wait_for_pictures(frontend, ids)
    assert frontend.page.evaluate(SAID) == said


def test_a_workflow_that_was_opened_twice_shows_what_nodes_say_where_it_was_run(first_look, server):
    frontend, workflow, ids = first_look
    workflow = {**workflow, "id": "0d0c0b0a-0000-4000-8000-000000000003"}  # other tests have run the template's
    for name in ("opened once", "opened twice"):
        # One that is dropped while the cover of the one before fades may leave a cover for good.
        frontend.page.locator(".p-blockui-mask").wait_for(state="detached")
        frontend.drop(name, workflow)
    assert frontend.page.evaluate("app.graph.id") == workflow["id"]
    apply, *_ = ids["DomainGuidanceApply"]
    frontend.set_widget(apply, "weight", 9)
    for sampler in ids["KSampler"]:
        frontend.set_widget(sampler, "seed", next(SEEDS))
    before, tabs = len(server.get("/history")), frontend.page.locator(".workflow-tabs")
    frontend.page.evaluate("app.api.addEventListener('promptQueued', () => { window.queued = true })")
    frontend.run()
    frontend.page.wait_for_function("window.queued")
    tabs.get_by_text("opened once", exact=True).click()
    while len(server.get("/history")) == before:
        server.check_alive("making a prompt")
        frontend.page.wait_for_timeout(200)
    frontend.page.wait_for_timeout(1000)
    path = frontend.page.evaluate("app.extensionManager.workflow.activeWorkflow.path")
    assert "opened once" in path and frontend.page.evaluate(SAID) == {}
    tabs.get_by_text("opened twice", exact=True).click()
    frontend.page.wait_for_function(f"() => JSON.stringify(({SAID})()).includes('tend to burn')")
    wait_until_asked(frontend, lambda: tabs.get_by_text("opened once", exact=True).click())
    assert frontend.page.evaluate(SAID) == {}


def test_sentences_stand_after_undo_and_the_history_is_read_once(first_look):
    frontend, _, ids = first_look
    said = run_burnt(frontend, ids)
    for _ in range(2):
        frontend.page.evaluate(MOVE, ids["DomainGuidanceApply"][0])
    frontend.page.wait_for_timeout(1000)  # until the server has told that its queue is empty
    asked = []
    frontend.page.on("request", lambda request: "/history?" in request.url and asked.append(request.url))
    for _ in range(2):
        wait_until_asked(
            frontend,
            lambda: frontend.page.evaluate("app.extensionManager.workflow.activeWorkflow.changeTracker.undo()"),
        )
        assert frontend.page.evaluate(SAID) == said
    assert len(asked) <= 1, asked


def test_results_come_back_where_a_subgraph_feeds_a_node_that_feeds_the_same_subgraph(first_look, server):
    frontend, _, ids = first_look
    within = [ids[kind][-1] for kind in ("DomainGuidanceApply", "VAEDecode", "ImageScale", "PreviewImage")]
    sampler = ids["KSampler"][-1]
    frontend.set_widget(within[0], "weight", 9)
    frontend.set_widget(sampler, "seed", next(SEEDS))
    subgraph = frontend.page.evaluate(INTO_SUBGRAPH, within)
    frontend.make(server)
    frontend.page.wait_for_function(PICTURED_WITHIN, arg=subgraph, timeout=180_000, polling=500)
    said = frontend.page.evaluate(SAID)
    assert "tend to burn" in " ".join(said[sampler])
    frontend.page.wait_for_timeout(1000)  # until the frontend has kept the draft
    wait_until_asked(frontend, lambda: load_anew(frontend))
    assert frontend.errors == []
    assert frontend.page.evaluate(SAID) == said
    assert frontend.page.evaluate(PICTURED_WITHIN, subgraph)
