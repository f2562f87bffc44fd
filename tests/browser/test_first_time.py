"""The first visit, step by step as the README has it: clone into a clean ComfyUI, open the first template, Run, see
pictures.
"""

import shutil
import subprocess
from pathlib import Path

import host_process
import pytest
from real_server import real_server

# At the top of an installation: what its user has put there, and what running it does not need.
NOT_COPIED = {
    ".git",
    "venv",
    ".venv",
    "tests",
    "tests-unit",
    "models",
    "input",
    "output",
    "temp",
    "user",
    "custom_nodes",
}


def files_of_a_clone():
    """What `git clone` would bring: what is tracked, and here also what is about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=host_process.PACK_ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [Path(name) for name in listed.split("\0") if name and (host_process.PACK_ROOT / name).is_file()]


@pytest.fixture(scope="module")
def clean_comfyui(tmp_path_factory):
    """A copy of the installation's code without anyone's models, packs, pictures or settings, and the pack in
    custom_nodes.
    """
    if not (host_process.PACK_ROOT / ".git").exists():
        pytest.skip("this copy of the pack is no git checkout: what a clone would bring is not known")
    root = tmp_path_factory.mktemp("first_time") / "ComfyUI"
    shutil.copytree(
        Path.cwd(),
        root,
        ignore=lambda folder, names: NOT_COPIED & set(names) if Path(folder) == Path.cwd() else {"__pycache__"},
    )
    (root / "input").mkdir()
    pack = root / "custom_nodes" / "domain-guidance"
    for name in files_of_a_clone():
        (pack / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(host_process.PACK_ROOT / name, pack / name)
    return root


@pytest.fixture(scope="module")
def server(clean_comfyui, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clean_comfyui)
        with real_server(clean_comfyui, tmp_path_factory.mktemp("server") / "log.txt") as running:
            yield running


def test_a_new_user_gets_pictures_from_the_first_template(server, open_frontend):
    frontend = open_frontend(server.address)
    frontend.browse_templates()
    frontend.page.get_by_test_id("template-workflow-01-first-look").click()
    frontend.page.wait_for_function("() => app.graph.nodes.some(node => node.type === 'DomainGuidanceApply')")
    assert frontend.broken() == [] and frontend.error_overlay().count() == 0 and frontend.dialogs().count() == 0
    frontend.make(server)
    shown = frontend.page.evaluate(
        "() => app.graph.nodes.filter(node => node.type === 'PreviewImage').map(node => node.id)"
    )
    assert len(shown) == 3
    frontend.wait_for_images(shown)
    assert frontend.error_overlay().count() == 0 and frontend.errors == []
