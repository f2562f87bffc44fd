"""CONTRIBUTING.md says that a guidance idea is one file: its example is run as it stands there."""

import importlib.util
import re

import host_process
import pytest
import torch
from prompts import Graph, ksampler
from scenes import assert_differs

PAGE = (host_process.PACK_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture
def coarse(host, tmp_path, monkeypatch):
    """The example's node, as if its file were in nodes/."""
    import nodes

    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "coarse.py"
    file.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"{host.pack.__name__}.nodes.coarse", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "DomainGuidanceCoarse", module.DomainGuidanceCoarse)


def samples(host, model_of):
    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="3", stroke="red", ground="any", batch_size=2)
    return host.samples(graph, ksampler(graph, model_of(graph, toy), toy[3], toy[4], toy[5]))


def with_cells(cells):
    return lambda graph, toy: graph.add(
        "DomainGuidanceCoarse", model=toy[0], domain_model=toy[1], empty=toy[4], weight=1.5, cells=cells
    )


def test_the_example_guides_and_with_all_cells_it_is_plain_domain_guidance(host, coarse):
    plain = samples(
        host,
        lambda graph, toy: graph.add(
            "DomainGuidanceApply", model=toy[0], domain_model=toy[1], domain_conditioning=toy[4], weight=1.5
        ),
    )
    assert torch.allclose(samples(host, with_cells(16)), plain, rtol=1e-4, atol=1e-4)  # the toy's pictures have 16 x 16
    coarsely, unguided = samples(host, with_cells(2)), samples(host, lambda graph, toy: toy[0])
    assert_differs(coarsely, plain)
    assert_differs(coarsely, unguided)


def test_every_file_that_the_page_names_is_there(host):
    named = {
        name
        for name in re.findall(r"`((?:tests|nodes|domain_guidance|workflows|web)/[\w./-]*)`", PAGE)
        if name != "nodes/coarse.py"
    }
    assert len(named) >= 8
    assert [name for name in sorted(named) if not (host_process.PACK_ROOT / name).exists()] == []
