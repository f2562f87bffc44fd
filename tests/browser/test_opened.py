"""What one sees when a template opens, in two windows and in both views: all of it, with its text, and nothing red."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import SCREENSHOTS
from frontend import TEMPLATES, WINDOWS, over_each_other
from host_process import IP_ADAPTER_PACK
from real_server import real_server

WORKFLOWS = sorted(TEMPLATES.glob("*.json"))


def named_files():
    """`{folder: names}` of the files that the templates ask for."""
    found = {"generators": {"ffhqrebalanced512-128.pkl"}}
    for path in WORKFLOWS:
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            for model in node["properties"].get("models", []):
                found.setdefault(model["directory"], set()).add(model["name"])
    return found


@pytest.fixture(scope="module")
def server(ip_adapter_pack, base_directory, tmp_path_factory):
    """A server that lists the files of the templates: empty ones, since nothing is run, and gone afterwards."""
    files = [base_directory / "models" / folder / name for folder, names in named_files().items() for name in names]
    empty = [file for file in files if not file.exists()]
    for file in empty:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    example = base_directory / "input" / "example.png"
    shutil.copy(Path.cwd() / "input" / "example.png", example)
    try:
        with real_server(base_directory, tmp_path_factory.mktemp("server") / "log.txt") as running:
            yield running
    finally:
        for file in (*empty, example):
            file.unlink()


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "Nodes 2.0"])
@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: "{} x {}".format(*window))
def test_every_template_opens_with_its_text_and_all_of_its_nodes(server, open_frontend, window, nodes_2):
    frontend = open_frontend(server.address)
    frontend.resize(*window)
    frontend.nodes_2(nodes_2)
    folder = SCREENSHOTS / "opened"
    folder.mkdir(parents=True, exist_ok=True)
    wrong = {}
    try:
        for path in WORKFLOWS:
            if path.stem == "05-ip-adapter" and not IP_ADAPTER_PACK.is_dir():
                continue
            frontend.drop_template(path.stem)
            frontend.wait_until_drawn(nodes_2)
            view = "Nodes 2.0" if nodes_2 else "classic"
            frontend.page.screenshot(path=folder / f"{path.stem} {window[0]} {view}.png")
            wrong[path.stem] = [
                *([] if frontend.draws_text() else ["no text"]),
                *(f"{node} is out of sight" for node in frontend.outside()),
                *over_each_other(frontend.boxes()),
                *frontend.broken(),
                *frontend.error_overlay().all_inner_texts(),
            ]
    finally:
        frontend.nodes_2(False)
    assert {name: found for name, found in wrong.items() if found} == {}
    assert frontend.errors == []
