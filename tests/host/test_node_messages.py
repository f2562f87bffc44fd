"""Sentences at nodes: what is told in the log is told at the node that the host executes, too."""

import asyncio
import json

import pytest
import training_scenes
from mini_models import trained
from PIL import Image
from scenes import build
from test_report import reported
from training_scenes import Training


@pytest.fixture
def sent(host, monkeypatch):
    """(node, slot, text) of every message that reached the frontend."""
    from server import PromptServer

    found = []

    class Server:
        client_id = "a visitor"
        last_prompt_id = None

        def send_sync(self, event, data, sid=None):
            if event == "domain_guidance.node_message":
                assert sid == self.client_id
                found.append((data["node"], data["slot"], data["text"]))

        def send_progress_text(self, text, node_id, sid=None): ...

    monkeypatch.setattr(PromptServer, "instance", Server(), raising=False)
    return found


ADVICE = "cfg 4 plus the domain weight makes 13; above 8, images tend to burn. Try cfg 3 with weight 2."


def guided(minis, weight, seed, **domain):
    s = build(minis)
    applied = s.guide(s.model, s.load_domain(minis.domain(change=trained, **domain)), weight=weight)
    return s, applied, s.sample(applied, cfg=4.0, seed=seed)


def test_advice_of_a_sampling_stands_at_the_sampler_and_in_the_log(host, minis, sent, caplog):
    s, _, sampler = guided(minis, 9.0, seed=411)
    with caplog.at_level("WARNING"):
        host.samples(s.graph, sampler)
    burnt = [(node, text) for node, _, text in sent if "tend to burn" in text]
    assert burnt == [(sampler.id, ADVICE)]
    assert burnt[0][1] in caplog.text


def test_a_report_says_its_own_measured_advice_at_its_node_and_nothing_that_contradicts_it(host, minis, sent):
    s, applied, _ = guided(minis, 9.0, seed=413)
    report = reported(s, applied, cfg=4.0, seed=413)
    text = host.value(s.graph, [report.id, 2])
    told = [line for node, _, line in sent if node == report.id]
    assert (
        told
        and [f"{number}. {line}" for number, line in enumerate(reversed(told), 1)] == text.splitlines()[: len(told)]
    )
    assert not any("tend to burn" in line for _, _, line in sent)


def test_the_wrong_base_is_said_at_the_node_that_applies_the_domain(host, minis, sent):
    s, applied, sampler = guided(minis, 1.0, seed=412, base_family="sd15")
    host.samples(s.graph, sampler)
    assert [node for node, _, text in sent if "trained from a different base" in text] == [applied.id]


def test_images_that_are_left_out_are_counted_at_the_node(host, minis, base_directory, sent):
    training_scenes.register(base_directory)
    folder = base_directory / "input" / "two broken"
    folder.mkdir()
    for number in range(2):
        (folder / f"broken {number}.png").write_bytes(b"no picture")
    for number, image in enumerate(training_scenes.handwriting(9)):
        Image.fromarray((image * 255).round().byte().numpy()).save(folder / f"{number}.png")
    training = Training(minis, save_name="left out", images=None, folder=folder.name, steps=1, evaluate_every=0)
    host.value(training.graph, training.node)
    told = [text for node, slot, text in sent if slot == "left out"]
    assert len(told) == 2 and "'broken 0.png' is left out" in told[0] and "2 images are left out" in told[1]
    assert {node for node, slot, _ in sent if slot == "state"} == {training.node.id}
    assert sent[-1][1] == "state" and "saved 'output/loras/left out.safetensors'" in sent[-1][2]


def test_what_nodes_say_is_kept_by_prompt_each_slot_its_newest_and_an_empty_one_gone(host):
    said = host.library("nodes.comfy_host.said").Said()
    for prompt, slot, text in [
        ("a", "state", "Step 1"),
        ("a", "other", "Left out."),
        ("a", "state", "Step 2"),
        ("b", "state", "Step 1"),
        ("b", "state", ""),
    ]:
        said.keep(prompt, "7", slot, text)
    assert said.record() == {"a": {"7": [["other", "Left out."], ["state", "Step 2"]]}, "b": {"7": []}}


def test_of_more_prompts_than_are_kept_the_oldest_go(host):
    module = host.library("nodes.comfy_host.said")
    said = module.Said()
    for number in range(module.PROMPTS + 3):
        said.keep(str(number), "7", "state", "Done.")
    assert list(said.record()) == [str(number) for number in range(3, module.PROMPTS + 3)]


def test_the_server_answers_with_what_the_nodes_of_a_prompt_have_said(host, minis, monkeypatch):
    from aiohttp import web
    from server import PromptServer

    class Server:
        client_id = None
        last_prompt_id = None

        def __init__(self):
            self.app, self.routes = web.Application(), web.RouteTableDef()

        def send_sync(self, event, data, sid=None): ...

    server = Server()
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    host.library("nodes.comfy_host.said").register_messages()
    s, _, sampler = guided(minis, 9.0, seed=413)
    host.samples(s.graph, sampler)
    (route,) = server.routes
    assert (route.method, route.path) == ("GET", "/domain_guidance/messages")
    (nodes,) = json.loads(asyncio.run(route.handler(None)).body).values()
    assert nodes == {sampler.id: [[ADVICE, ADVICE]]}
