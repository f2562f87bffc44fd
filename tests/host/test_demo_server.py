"""The part of `run.py demo` that runs a graph through ComfyUI's real server."""

import sys
from pathlib import Path

import host_process
import pytest

SETTINGS = {"comfyui": Path.cwd(), "pack": host_process.PACK_ROOT, "python": Path(sys.executable), "cpu": True}


@pytest.fixture(scope="module")
def server(host):
    return host.library("launcher.server")


def picture(width):
    image = {"class_type": "EmptyImage", "inputs": {"width": width, "height": 8, "batch_size": 2, "color": 0}}
    return {"1": image, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}


def test_the_pictures_of_a_graph_come_back_with_their_node_and_the_pack_is_loaded(server):
    toy = {
        "3": {
            "class_type": "DomainGuidanceToyWorld",
            "inputs": {"digit": "3", "stroke": "red", "ground": "any", "batch_size": 1},
        }
    }
    pictures = server.run_graph(picture(16) | toy, **SETTINGS)
    assert [made.node for made in pictures] == ["2", "2"]
    assert all(made.data.startswith(b"\x89PNG") for made in pictures)


def test_a_refused_graph_is_said_in_the_servers_words(server, host):
    with pytest.raises(host.library("launcher").LauncherError, match="refused.*width"):
        server.run_graph(picture(-1), **SETTINGS)


def test_a_server_that_does_not_start_is_said_with_its_last_words(server, host, tmp_path):
    (tmp_path / "main.py").write_text("raise SystemExit('no such flag')", encoding="utf-8")
    with pytest.raises(host.library("launcher").LauncherError, match="no such flag"):
        server.run_graph(picture(16), **SETTINGS | {"comfyui": tmp_path})
