"""An adaptation through the real server: from a file in models/generators, cancelled, gone on with, and drawn with in a
later prompt.
"""

import threading
import time
import urllib.request

import host_process
import pytest
from adapt_scenes import Adaptation, ProbeGenerator, log_of, register, result_of, state_of, steps_of
from mini_models import trained
from PIL import Image
from prompts import Graph
from real_server import real_server

PROBES = """
import sys
sys.path.append({here!r})
from probe_nodes import NODES as NODE_CLASS_MAPPINGS
"""


@pytest.fixture(scope="module")
def base(base_directory, minis, host, tmp_path_factory):
    """A base directory of its own: the session's models, the pack, the tests' probes, and a generator in
    models/generators.
    """
    register(host)
    minis.lora(), minis.domain(change=trained)  # the prompts' helper wants a first entry in every list
    root = host_process.make_base_directory(tmp_path_factory.mktemp("adaptation"))
    for kind in ("diffusion_models", "vae", "loras"):
        (root / "models" / kind).rmdir()
        (root / "models" / kind).symlink_to(base_directory / "models" / kind, target_is_directory=True)
    (root / "custom_nodes" / "domain-guidance").symlink_to(host_process.PACK_ROOT, target_is_directory=True)
    (root / "custom_nodes" / "probes.py").write_text(PROBES.format(here=str(host_process.PACK_ROOT / "tests" / "host")))
    (file,) = ProbeGenerator().make(seed=1, width=8)
    for folder in (root, base_directory):  # the second for the prompts' helper, which reads this process's lists
        (folder / "models" / "generators").mkdir(exist_ok=True)
        host.library("domain_guidance.generators").write_generator_file(
            folder / "models" / "generators" / "faces.safetensors", file.weights, file.card
        )
    return root


@pytest.fixture(scope="module")
def adapting_server(base, tmp_path_factory):
    with real_server(base, tmp_path_factory.mktemp("adapting_server") / "log.txt") as running:
        yield running


def from_file(minis, name, family="toy", **changes):
    a = Adaptation(minis, family, save_name=name, **changes)
    a.graph[a.generator.id] = {
        "class_type": "DomainGuidanceLoadGenerator",
        "inputs": {"generator_name": "faces.safetensors"},
    }
    a.graph.add("SaveImage", images=a.node[1], filename_prefix=name)
    return a


def picture(server, record):
    [image] = [image for output in record["outputs"].values() for image in output.get("images", ())]
    return Image.open(server.base_directory / "output" / image["filename"])


@pytest.mark.parametrize("family", ["toy", "sd15", "sdxl", "sd3"])
def test_an_adaptation_shows_both_rows_and_a_later_prompt_draws_with_its_file(adapting_server, base, minis, family):
    a = from_file(minis, f"served {family}", family, steps=2, preview_every=1)
    assert picture(adapting_server, adapting_server.make(a.graph)).size == (128, 32)
    assert steps_of(a, base) == [1, 2] and result_of(a, base).exists()
    later = Graph()
    generator = later.add("DomainGuidanceLoadGenerator", generator_name="faces.safetensors")
    later[generator.id]["inputs"]["generator_name"] = result_of(a, base).name
    later.add(
        "SaveImage",
        images=later.add("DomainGuidanceSampleGenerator", generator=generator, count=1),
        filename_prefix="later",
    )
    assert picture(adapting_server, adapting_server.make(later)).size == (16, 16)


def test_interrupt_keeps_the_state_and_the_queue_goes_on(adapting_server, base, minis):
    a = from_file(minis, "long", steps=100_000)

    def interrupt_after_some_steps():
        while not state_of(a, base).with_name("log.jsonl").exists() or len(log_of(a, base)) < 4:
            adapting_server.check_alive("adapting")
            time.sleep(0.05)
        urllib.request.urlopen(
            urllib.request.Request(adapting_server.address + "/interrupt", b"", method="POST")
        ).close()

    watcher = threading.Thread(target=interrupt_after_some_steps)
    watcher.start()
    record = adapting_server.run(a.graph)
    watcher.join()
    assert "execution_interrupted" in [event for event, _ in record["status"]["messages"]]
    made = steps_of(a, base)[-1]
    assert 1 <= made < 100_000 and state_of(a, base).exists()
    assert "your progress is saved, and Run continues it" in adapting_server.log.read_text(errors="replace")
    adapting_server.make(from_file(minis, "long", steps=made + 2).graph)
    assert steps_of(a, base) == list(range(1, made + 3)) and result_of(a, base).exists()


def test_the_server_lists_the_node(adapting_server):
    listed = adapting_server.get("/object_info/DomainGuidanceAdaptGenerator")["DomainGuidanceAdaptGenerator"]
    assert listed["output"] == ["GENERATOR", "IMAGE", "IMAGE", "STRING"]
    assert set(listed["input"]["required"]) == {
        "generator",
        "model",
        "vae",
        "positive",
        "negative",
        "steps",
        "cfg",
        "learning_rate",
        "regulariser",
        "regulariser_weight",
        "seed",
        "save_name",
        "on_existing",
    }
