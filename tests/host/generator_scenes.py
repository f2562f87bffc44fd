"""Small generators for the tests of their nodes, and the graphs around them."""

import sys

import pytest
import torch
from host_process import PACK_ROOT, PromptError
from prompts import Graph
from scenes import assert_one_sentence

WRITER = PACK_ROOT / "tests" / "unit" / "generators" / "write_files.py"
sys.path.append(str(WRITER.parent))

import sheet

SIDE = 16


def tiny(seed=0):
    """Random weights whose pictures stay within their range, for the most part."""
    weights = sheet.nvidia_weights(resolution=SIDE, seed=seed)
    return {
        name: 0.2 * tensor if ".torgb." in name and "affine" not in name else tensor for name, tensor in weights.items()
    }


def trained_further():
    """The first of `tiny`, a part of the way to the second."""
    other = tiny(seed=1)
    return {name: torch.lerp(tensor, other[name], 0.3) for name, tensor in tiny().items()}


def write_native(host, base_directory, name, weights, origin=None):
    """A generator in our format, in the model folder; its name in the list."""
    library = host.library("domain_guidance.generators")
    config = library.infer_config({name: tuple(tensor.shape) for name, tensor in weights.items()})
    card = library.GeneratorCard(config, origin, {"prompt": name})
    library.write_generator_file(base_directory / "models" / "generators" / f"{name}.safetensors", weights, card)
    return f"{name}.safetensors"


def write_pair(host, base_directory):
    """Names of two generators, the second trained from the first."""
    origin = host.library("domain_guidance.generators").Origin("faces.pkl", "1" * 64, "NVIDIA PyTorch pickle")
    pair = {"first": tiny(), "second": trained_further()}
    return tuple(write_native(host, base_directory, name, weights, origin) for name, weights in pair.items())


def load(graph, name):
    return graph.add("DomainGuidanceLoadGenerator", generator_name=name)


def sample(graph, generator, **changes):
    return graph.add("DomainGuidanceSampleGenerator", generator=generator, **{"seed": 3, "count": 2, **changes})


def project(graph, generator, image, **changes):
    return graph.add("DomainGuidanceInvertImage", generator=generator, image=image, **{"steps": 200, **changes})


def drawn(host, name, **changes):
    """IMAGE of the generator of this name."""
    graph = Graph()
    return host.value(graph, sample(graph, load(graph, name), **changes))


def assert_alike(pictures, expected):
    """Weights from another file lie elsewhere in memory, which moves the last digit."""
    torch.testing.assert_close(pictures, expected, rtol=0, atol=1e-5)


def refused(host, graph, link):
    """The one sentence with which a graph is refused."""
    with pytest.raises(PromptError) as caught:
        host.value(graph, link)
    assert_one_sentence(caught.value.message)
    return caught.value.message


def told(caplog):
    """What the pack has written to the log."""
    return [record.getMessage() for record in caplog.records if "Domain Guidance" in record.getMessage()]
