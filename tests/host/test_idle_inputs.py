"""An input with which a node does nothing is said in one line, in the log and at the node."""

import logging

import pytest
import torch
from messages import refusal, warnings_of
from mini_models import trained
from prompts import sample_with_guider
from scenes import EMPTY, assert_differs, assert_one_sentence, assert_same, build

NODES = ["DomainGuidanceApply", "DomainGuidanceTerm"]


def guided(s, minis, node, weight=2.0, **inputs):
    if node == "DomainGuidanceApply":
        return s.guide(s.model, s.load_domain(minis.domain(change=trained)), weight, **inputs)
    return s.graph.add(node, model=s.model, conditioning=s.prompt(3), weight=weight, **inputs)


def lines_of(host, s, node, seed, caplog, monkeypatch):
    """What the log and the node say while the node and a sampler behind it run."""
    shown = []
    monkeypatch.setattr(host.library("nodes.apply"), "line_at", lambda node_id: shown.append)
    monkeypatch.setattr(host.library("nodes.term"), "line_at", lambda node_id: shown.append)
    logged = warnings_of(host, s, s.sample(node, cfg=3.0), caplog, seed)
    for line in (*logged, *shown):
        assert_one_sentence(line)
    return [line.removeprefix("Domain Guidance: ") for line in logged], shown


@pytest.mark.parametrize("node", NODES)
def test_the_mask_of_an_opaque_picture_counts_as_none(host, minis, node, caplog, monkeypatch):
    """Load Image gives 64x64 zeros for it, whatever its size."""
    s = build(minis, size=(8, 16))
    placeholder = s.graph.add("SolidMask", value=0.0, width=64, height=64)
    masked, plain = guided(s, minis, node, mask=placeholder), guided(s, minis, node)
    logged, shown = lines_of(host, s, masked, 611, caplog, monkeypatch)
    assert logged == shown and "counts as no mask" in shown[0] and len(shown) == 1
    assert torch.equal(host.samples(s.graph, s.sample(masked)), host.samples(s.graph, s.sample(plain)))
    assert_differs(host.samples(s.graph, s.sample(masked)), host.samples(s.graph, s.sample(s.model)))


def test_load_image_gives_the_placeholder_for_an_opaque_picture(host, minis, base_directory):
    from PIL import Image

    Image.new("RGB", (96, 40), "red").save(base_directory / "input" / "opaque.png")
    s = build(minis)
    mask = host.value(s.graph, s.graph.add("LoadImage", image="opaque.png")[1])
    assert tuple(mask.shape[-2:]) == host.library("nodes.comfy_host.guidance.idle_inputs").PLACEHOLDER
    assert not mask.any()


@pytest.mark.parametrize("node", NODES)
def test_a_mask_that_is_black_all_over_is_said(host, minis, node, caplog, monkeypatch):
    s = build(minis)
    black = guided(s, minis, node, mask=s.graph.add("SolidMask", value=0.0, width=128, height=128))
    logged, shown = lines_of(host, s, black, 612, caplog, monkeypatch)
    assert logged == shown and "mask of 128x128 is black all over" in shown[0]
    assert_same(host.samples(s.graph, s.sample(black)), host.samples(s.graph, s.sample(s.model)))


@pytest.mark.parametrize("node", NODES)
def test_a_mask_with_nan_is_refused(host, minis, node):
    s = build(minis)
    broken = guided(s, minis, node, mask=s.graph.add("SolidMask", value=float("nan"), width=64, height=64))
    assert "mask holds NaN" in refusal(host, s, s.sample(broken))


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize(
    "schedule, inputs",
    [
        ({"shape": "constant", "first": 0.0}, {}),
        ({"shape": "list", "list": "0, 0"}, {}),
        ({"shape": "interval", "first": 1.0, "start_percent": 0.0, "end_percent": 0.4}, {"start_percent": 0.5}),
    ],
)
def test_a_schedule_of_zeros_is_said(host, minis, node, schedule, inputs, caplog, monkeypatch):
    s = build(minis)
    silent = guided(s, minis, node, schedule=s.graph.add("DomainGuidanceSchedule", **schedule), **inputs)
    logged, shown = lines_of(host, s, silent, 613, caplog, monkeypatch)
    assert "every factor of the schedule is 0" in shown[0] and logged[0] == shown[0]


@pytest.mark.parametrize("node", NODES)
def test_weight_0_is_said_at_the_node_alone(host, minis, node, caplog, monkeypatch):
    s = build(minis)
    logged, shown = lines_of(host, s, guided(s, minis, node, weight=0.0), 614, caplog, monkeypatch)
    assert shown == ["Nothing changes, because weight is 0; raise it to guide."] and not logged


@pytest.mark.parametrize("node", NODES)
def test_what_acts_says_nothing(host, minis, node, caplog, monkeypatch):
    s = build(minis)
    schedule = s.graph.add("DomainGuidanceSchedule", shape="interval", start_percent=0.2, end_percent=0.3, first=1.0)
    mask = s.graph.add("SolidMask", value=1.0, width=64, height=64)
    acting = guided(s, minis, node, mask=mask, schedule=schedule, end_percent=0.9)
    graph_sampler = s.sample(acting, cfg=3.0, steps=20)
    assert not warnings_of(host, s, graph_sampler, caplog, 615)


def test_the_same_prompt_on_both_sides_of_a_term_is_said(host, minis, caplog, monkeypatch):
    s = build(minis)
    same = s.graph.add("DomainGuidanceTerm", model=s.model, conditioning=s.prompt(3), minus=s.prompt(3), weight=1.0)
    logged, shown = lines_of(host, s, same, 616, caplog, monkeypatch)
    assert shown == logged and "conditioning and minus are the same prompt" in shown[0]


def test_a_range_that_no_step_of_the_sampling_lies_in_is_said(host, minis, caplog):
    """Image to image at a low denoise begins after the range has ended."""
    s = build(minis)
    early = guided(s, minis, "DomainGuidanceApply", end_percent=0.3)
    logged = warnings_of(host, s, s.sample(early, cfg=3.0, denoise=0.3), caplog, 617)
    assert len(logged) == 1 and "acts on none of the 3 steps" in logged[0]
    assert_one_sentence(logged[0])
    assert not warnings_of(host, s, s.sample(early, cfg=3.0), caplog, 618)


def basic(host, s, model):
    guider = s.graph.add("BasicGuider", model=model, conditioning=s.positive)
    return host.samples(s.graph, sample_with_guider(s.graph, model, guider, s.latent))


def test_without_a_negative_prompt_the_reference_negative_is_the_empty_prompt(host, minis, caplog):
    s = build(minis)
    with caplog.at_level(logging.INFO):
        negative = basic(host, s, guided(s, minis, "DomainGuidanceApply", 1.0, reference="negative"))
    assert torch.equal(negative, basic(host, s, guided(s, minis, "DomainGuidanceApply", 1.0, reference="empty")))
    assert any("This guider has no negative prompt" in record.getMessage() for record in caplog.records)
    prompt, s.positive = s.positive, s.prompt(EMPTY)
    without_prompt = basic(host, s, guided(s, minis, "DomainGuidanceApply", 1.0, reference="negative"))
    s.positive = prompt
    assert_differs(negative, without_prompt)


def test_a_term_that_takes_the_place_of_the_only_prompt_says_so(host, minis, caplog):
    s = build(minis)
    with caplog.at_level(logging.WARNING):
        basic(host, s, guided(s, minis, "DomainGuidanceTerm", 1.0))
    (line,) = [
        record.getMessage()
        for record in caplog.records
        if "only" in record.getMessage() or "no negative" in record.getMessage()
    ]
    assert_one_sentence(line)
