"""Project Image Into Generator in the real host: a picture is found, alone or among others, with a CLIP vision model
and without.
"""

from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from generator_scenes import SIDE, drawn, load, project, sample, write_pair
from prompts import Graph
from scenes import assert_one_sentence


@pytest.fixture(scope="module")
def native(host, base_directory):
    return write_pair(host, base_directory)


def test_the_generators_own_pictures_are_found_again_each_by_itself(host, native):
    graph = Graph()
    generator = load(graph, native[0])
    source = sample(graph, generator, count=2)
    node = project(graph, generator, source)
    found, wanted = host.value(graph, node[1]), host.value(graph, source)
    mean = drawn(host, native[0], truncation=0.0, count=1)
    assert found.shape == wanted.shape
    for one, target in zip(found, wanted):
        error = (one - target).square().mean()
        assert error < 1e-3 and error < 0.02 * (mean[0] - target).square().mean()
    assert torch.equal(host.value(graph, sample(graph, generator, latent=node[0])), found)
    alone = project(graph, generator, sample(graph, generator, count=1))
    assert torch.equal(host.value(graph, alone[0]).ws, host.value(graph, node[0]).ws[:1])


def test_a_found_latent_is_drawn_by_an_adapted_generator(host, native):
    graph = Graph()
    node = project(graph, load(graph, native[0]), graph.add("ProbeImage", seed=1, height=40, width=24), steps=10)
    adapted = host.value(graph, sample(graph, load(graph, native[1]), latent=node[0]))
    assert adapted.shape == (1, SIDE, SIDE, 3)
    assert not torch.equal(adapted, host.value(graph, node[1]))


def test_transparency_is_over_white_and_what_is_no_picture_is_refused(host, native):
    search = host.library("nodes.comfy_host.generators.inversion")
    random = torch.Generator().manual_seed(0)
    colour, alpha = torch.rand(2, 40, 24, 3, generator=random), torch.rand(2, 40, 24, 1, generator=random)
    over_white = search._wanted(colour * alpha + 1 - alpha, SIDE)
    torch.testing.assert_close(search._wanted(torch.cat((colour, alpha), dim=3), SIDE), over_white)
    for bad, said in ((colour / 0 * 0, "NaN"), (alpha, "expected")):
        with pytest.raises(ValueError, match=said) as caught:
            search._wanted(bad, SIDE)
        assert_one_sentence(str(caught.value))


def test_one_style_for_all_is_one(host, native):
    graph = Graph()
    image = graph.add("ProbeImage", seed=1, height=SIDE, width=SIDE)
    one, each = (
        host.value(graph, project(graph, load(graph, native[0]), image, steps=10, styles=styles)[0]).ws
        for styles in ("one for all (w)", "one for each (w+)")
    )
    assert (one == one[:, :1]).all() and not (each == each[:, :1]).all()


def test_clip_vision_is_compared_with_and_stays_as_it_was(host, native):
    graph = Graph()
    vision = graph.add("ProbeClipVision")
    generator, image = load(graph, native[0]), graph.add("ProbeImage", seed=1, height=SIDE, width=SIDE)
    model = host.value(graph, vision)
    before = {name: tensor.clone() for name, tensor in model.get_sd().items()}
    plain = host.value(graph, project(graph, generator, image, steps=10)[0]).ws
    seen = host.value(graph, project(graph, generator, image, steps=10, clip_vision=vision)[0]).ws
    heavy = host.value(graph, project(graph, generator, image, steps=10, clip_vision=vision, clip_weight=50.0)[0]).ws
    assert not torch.equal(plain, seen) and not torch.equal(seen, heavy)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.get_sd().items())


def test_the_features_of_clip_vision_are_the_hosts(host, native):
    graph = Graph()
    vision, image = (
        host.value(graph, graph.add("ProbeClipVision")),
        host.value(graph, graph.add("ProbeImage", seed=1, height=224, width=224)),
    )
    features = host.library("nodes.comfy_host.generators.inversion").clip_features(vision, torch.device("cpu"))
    with torch.inference_mode():
        expected = vision.encode_image(image)["penultimate_hidden_states"]
    torch.testing.assert_close(
        features(image.movedim(-1, 1) * 2 - 1), expected, rtol=1e-2, atol=2e-2
    )  # the host rounds pixels to 8 bits


def test_the_features_of_clip_vision_have_the_gradient_of_their_values(host, native):
    graph = Graph()
    vision = host.value(graph, graph.add("ProbeClipVision"))
    features = host.library("nodes.comfy_host.generators.inversion").clip_features(vision, torch.device("cpu"))
    random = torch.Generator().manual_seed(0)
    picture = (0.5 * torch.randn(1, 3, SIDE, SIDE, generator=random)).requires_grad_()
    direction, weight = torch.randn(1, 3, SIDE, SIDE, generator=random), torch.randn(1, 50, 64, generator=random)
    (gradient,) = torch.autograd.grad((features(picture) * weight).sum(), picture)
    with torch.no_grad():
        ahead, behind = ((features(picture + sign * 1e-2 * direction) * weight).sum() for sign in (1, -1))
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / 2e-2, rtol=0.02, atol=0.02)


def test_the_search_has_a_bar_over_all_pictures_with_previews(host, native):
    import comfy.utils

    graph, calls = Graph(), []
    generator = load(graph, native[0])
    node = project(graph, generator, sample(graph, generator, count=2), steps=20)

    def hook(value, total, preview, node_id=None):
        if total == 40:
            calls.append((value, preview is not None))

    with patch.object(comfy.utils, "PROGRESS_BAR_HOOK", hook):
        host.value(graph, node[0], fresh=True)
    assert calls[-1] == (40, True) and {value for value, preview in calls if preview} == {10, 20, 30, 40}


@contextmanager
def cancelled_at(step):
    """A user who presses Cancel when the bar of 40 steps is there."""
    import comfy.model_management
    import comfy.utils

    seen = []

    def hook(value, total, preview, node_id=None):
        if total == 40:
            seen.append(value)
            if value == step:
                comfy.model_management.interrupt_current_processing()

    with patch.object(comfy.utils, "PROGRESS_BAR_HOOK", hook):
        yield seen


def outputs(host, graph, node, **running):
    """(styles, pictures) of the node, or None after an interrupted prompt."""
    probed = graph.copy()
    probes = [probed.add("ProbeCapture", value=node[index]).id for index in range(2)]
    found = host.run(probed, **running)
    return (found[probes[0]].ws, found[probes[1]]) if len(found) == 2 else None


def test_a_cancel_keeps_what_is_found_and_the_next_queue_searches_to_the_end(host, native):
    graph = Graph()
    generator = load(graph, native[0])
    node = project(graph, generator, sample(graph, generator, count=2, seed=51), steps=20, learning_rate=0.02)
    whole, _ = outputs(host, graph, node, fresh=True)
    with cancelled_at(30) as seen:
        ws, pictures = outputs(host, graph, node)
    assert seen[-1] == 30 and len(ws) == len(pictures) == 2
    assert torch.equal(ws[0], whole[0]) and not torch.equal(ws[1], whole[1])
    with cancelled_at(10):
        ws, pictures = outputs(host, graph, node)
    assert len(ws) == len(pictures) == 1 and not torch.equal(ws[0], whole[0])
    assert torch.equal(outputs(host, graph, node)[0], whole)
    with cancelled_at(None) as seen:
        assert torch.equal(outputs(host, graph, node)[0], whole)
    assert not seen, "a whole search is kept"


def test_a_cancel_before_anything_is_found_interrupts_the_prompt(host, native):
    import comfy.model_management

    graph = Graph()
    generator = load(graph, native[0])
    node = project(graph, generator, sample(graph, generator, count=2, seed=52), steps=20)
    search = host.library("nodes.comfy_host.generators.inversion")
    fitted = search.fitted

    def pressed(*arguments):
        comfy.model_management.interrupt_current_processing()
        return fitted(*arguments)

    with patch.object(search, "fitted", pressed):
        assert outputs(host, graph, node) is None


def test_a_cancel_while_candidates_are_looked_at_ends_the_search_with_the_closest_of_them(host, native):
    import comfy.model_management

    graph, looked_at = Graph(), []
    generator = load(graph, native[0])
    node = project(graph, generator, sample(graph, generator, count=1, seed=53), candidates=5000)
    search = host.library("domain_guidance.generators.invert")._Search
    offer = search._offer

    def pressed(self, ws, distance):
        looked_at.append(distance)
        if len(looked_at) == 20:
            comfy.model_management.interrupt_current_processing()
        offer(self, ws, distance)

    with patch.object(search, "_offer", pressed):
        ws, pictures = outputs(host, graph, node)
    assert len(looked_at) == 20 and len(ws) == len(pictures) == 1


def test_a_plate_of_the_toy_world_is_come_close_to_by_its_generator(host):
    """A picture that the generator never saw, from a domain that it does not draw."""
    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="any", stroke="any", ground="any", batch_size=1)
    plate = graph.add("ImageFromBatch", image=toy[6], batch_index=0, length=1)
    found, wanted = (host.value(graph, link) for link in (project(graph, toy[7], plate, steps=150)[1], plate))
    mean = host.value(graph, sample(graph, toy[7], truncation=0.0, count=1))
    assert (found - wanted).square().mean() < 0.1 * (mean - wanted).square().mean()
