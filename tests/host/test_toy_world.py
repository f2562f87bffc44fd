"""The toy world in the real KSampler: does the picture show what was asked, and does it move into the domain?"""

import pytest
import torch
from prompts import Graph, ksampler
from scenes import distance

PER_DIGIT = 5
SETTINGS = {"steps": 20, "cfg": 4.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}


@pytest.fixture(scope="module")
def world(host):
    """The library's judge, its held-out pictures of the domain, and the colours that the domain knows."""
    library = {
        name: host.library(f"domain_guidance.toy_world.{name}") for name in ("comparison", "scenes", "checkpoints")
    }
    library["scores"] = host.library("domain_guidance.evaluation.scores")
    judge = library["checkpoints"].load_judge()
    held_out = judge.read(library["comparison"].held_out_domain(200).images).features
    return library, judge, held_out


def pictures(host, library, weight):
    """Ten digits in the domain's colours, each PER_DIGIT times: [N,3,16,16], asked digits [N], asked strokes [N]."""
    images, digits, strokes = [], [], []
    names = list(library["scenes"].STROKES)
    colours = list(library["scenes"].DOMAIN_STROKES)
    for digit in range(10):
        colour = colours[digit % len(colours)]
        graph = Graph()
        toy = graph.add("DomainGuidanceToyWorld", digit=str(digit), stroke=colour, ground="any", batch_size=PER_DIGIT)
        model = (
            toy[0]
            if weight is None
            else graph.add("DomainGuidanceApply", model=toy[0], domain_model=toy[1], weight=weight)
        )
        images.append(
            host.samples(graph, ksampler(graph, model, toy[3], toy[4], toy[5], seed=1000 + digit, **SETTINGS))
        )
        digits += [digit] * PER_DIGIT
        strokes += [names.index(colour)] * PER_DIGIT
    return torch.cat(images), torch.tensor(digits), torch.tensor(strokes)


@pytest.fixture(scope="module")
def judged(host, world):
    """weight -> (share of digits, share of strokes, domain distance), for the base and weights 1.5 and -1.5."""
    library, judge, held_out = world

    def judge_weight(weight):
        images, digits, strokes = pictures(host, library, weight)
        reading = judge.read(images)
        scores = library["scores"]
        return (
            scores.share(reading.digit, digits),
            scores.share(reading.stroke, strokes),
            scores.kernel_distance(reading.features, held_out),
        )

    return {weight: judge_weight(weight) for weight in (None, 1.5, -1.5)}


def test_the_domain_distance_falls_and_a_negative_weight_raises_it(judged):
    """A sign error in the term swaps the two."""
    base, guided, pushed = (judged[weight][2] for weight in (None, 1.5, -1.5))
    assert guided < 0.5 * base
    assert pushed > base


def test_the_asked_digit_and_colour_are_read_inside_the_domain(judged, record_property):
    for weight, values in judged.items():
        record_property(f"weight {weight}", "digit {:.2f} stroke {:.2f} distance {:.2f}".format(*values))
    digit, stroke, _ = judged[1.5]
    assert digit >= 0.7
    assert stroke >= 0.8


def test_the_plates_are_pictures_of_the_domain_and_of_every_digit(host, world):
    """What the node gives to train from, read by the judge: as far from held-out pictures as those from each other."""
    library, judge, held_out = world
    graph = Graph()
    plates = host.value(
        graph, graph.add("DomainGuidanceToyWorld", digit="any", stroke="any", ground="any", batch_size=1)[6]
    )
    assert plates.shape == (256, 16, 16, 3) and plates.min() >= 0 and plates.max() <= 1
    reading = judge.read(plates.movedim(-1, 1) * 2 - 1)
    floor = host.library("domain_guidance.evaluation").split_half(held_out, confidence=0.5)
    assert abs(library["scores"].kernel_distance(reading.features, held_out)) < 2 * floor
    assert reading.digit.bincount(minlength=10).min() >= 10


@pytest.mark.parametrize("kind", ["whole domain", "side network"])
def test_both_hosts_walk_the_same_trajectory(host, kind):
    """The host's KSampler and the library's sampler on diffusers, from the same noise: 1e-4."""
    comparison, methods, sampling = (
        host.library(f"domain_guidance.{name}")
        for name in ("toy_world.comparison", "toy_world.methods", "diffusion.sampling")
    )
    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="5", stroke="red", ground="any", batch_size=4)
    guided = graph.add(
        "DomainGuidanceApply", model=toy[0], domain_model=toy[1 if kind == "whole domain" else 9], weight=1.5
    )
    theirs = host.samples(graph, ksampler(graph, guided, toy[3], toy[4], toy[5], seed=77, **SETTINGS))
    prompt, empty = (host.value(graph, toy[index])[0][0] for index in (3, 4))
    models = comparison.load_models()
    assert torch.equal(models.empty, empty)
    sigmas = sampling.karras_sigmas(20, models.schedule.sigmas[0].item(), models.schedule.sigmas[-1].item())
    noise = torch.randn(4, 3, 16, 16, generator=torch.manual_seed(77))
    denoiser = methods.METHODS["decoupled"].build(models, cfg=4.0, weight=1.5)
    if kind == "side network":
        library = host.library("domain_guidance.side_networks")
        network = host.library("domain_guidance.toy_world.checkpoints").load_side_network().network
        denoiser = library.SideGuidedDenoiser(models.base, network, "epsilon", models.empty, weight=1.5, cfg=4.0)
    with torch.no_grad():
        # The host starts a whole run at noise * sqrt(1 + sigma^2), the exact variance of x0 + sigma * noise for unit
        # data.
        ours = sampling.sample_dpmpp_2m(
            lambda x, sigma: denoiser(x, sigma, prompt.expand(4, -1, -1)), noise * (1 + sigmas[0] ** 2).sqrt(), sigmas
        )
    assert distance(theirs, ours) < 1e-4
