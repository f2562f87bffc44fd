"""What one sees after Run, in both views: a template's pictures, and no node over another."""

import json

import pytest
from conftest import SCREENSHOTS
from frontend import TEMPLATES, WINDOWS
from host_process import IP_ADAPTER_PACK
from real_server import real_server
from test_api_twins import named_minis, needs_large_files, shrunk  # noqa: F401, a fixture
from test_opened import over_each_other

LARGE = "22-picture-to-mesh-in-a-domain"  # needs a shape model, which the host knows in no small size
RUN = sorted(path.stem for path in TEMPLATES.glob("*.json") if path.stem != LARGE)
SHOWING = {"PreviewImage", "SaveImage"}
FEW = {"DomainGuidanceTrain": 4, "DomainGuidanceAdaptGenerator": 4, "DomainGuidanceInvertImage": 20}  # steps


@pytest.fixture(scope="module")
def server(named_minis, ip_adapter_pack, mini_clip_vision, base_directory, tmp_path_factory):
    with real_server(base_directory, tmp_path_factory.mktemp("server") / "log.txt", textures=True) as running:
        yield running


def quick(graph):
    """The graph with small pictures where files of users are loaded, and short trainings."""
    if needs_large_files(graph):
        return shrunk(graph)
    for node in graph.values():
        if node["class_type"] in FEW:
            node["inputs"]["steps"] = FEW[node["class_type"]]
    return graph


@pytest.mark.parametrize("name", RUN)
def test_a_template_shows_its_pictures_and_no_node_lies_over_another(server, open_frontend, name):
    if name == "05-ip-adapter" and not IP_ADAPTER_PACK.is_dir():
        pytest.skip(f"IPAdapter_plus is not installed at {IP_ADAPTER_PACK}: {name} was not run")
    frontend = open_frontend(server.address)
    frontend.resize(*WINDOWS[0])
    workflow = frontend.drop_template(name)
    twin = frontend.prompt()
    frontend.change_inputs(twin, quick(json.loads(json.dumps(twin))))
    frontend.make(server)
    frontend.wait_for_images([node["id"] for node in workflow["nodes"] if node["type"] in SHOWING])
    for boxes in frontend.pictured(SCREENSHOTS / "after run", name):
        assert frontend.draws_text() and over_each_other(boxes) == []
    assert frontend.errors == []
