"""The API twin of every shipped workflow, executed in the real host with mini models under the file names that it asks
for.

Pictures are 64 px and runs 2 steps long; nothing else of a graph is changed. The first look runs as it is shipped.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import host_process
import mini_models
import pytest
import side_scenes
import torch
import training_scenes
from domain_adapters import domain_adapter
from host_process import IP_ADAPTER_PACK
from prompts import Graph
from safetensors.torch import save_file
from watchers import watch_evaluations

# The templates' twins, and graphs that load files which users have made.
TWINS = sorted((host_process.PACK_ROOT / "tests" / "workflows").rglob("*.api.json"))
CHECKPOINT, DOMAIN = "v1-5-pruned-emaonly-fp16.safetensors", "my_domain.safetensors"
FINE_TUNE = "DreamShaper_8_pruned.safetensors"
SIDE_NETWORK = "my_side_network.safetensors"
ADAPTER, FEW_STEPS = "my_domain_adapter.safetensors", "lcm-lora-sdv1-5.safetensors"
CONTROLNET, CLIP_VISION = "control_v11p_sd15_scribble_fp16.safetensors", "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
SPATIAL = "ffhqrebalanced512-128.pkl"
DEPTH_CONTROLNET, SHAPE_MODEL = "control_v11f1p_sd15_depth_fp16.safetensors", "hunyuan3d-dit-v2_fp16.safetensors"
SMALL = {
    "EmptyLatentImage": ("width", "height"),
    "ImageScale": ("width", "height"),
    "DomainGuidanceMeshViews": ("width", "height"),
}
SHORT = {
    "KSampler": {"steps": 2},
    "DomainGuidanceTrain": {"preset": "own", "steps": 2, "resolution": 64, "preview_every": 0},
    "DomainGuidanceAdaptGenerator": {"steps": 2, "resolution": 64, "preview_every": 0},
    "DomainGuidanceInvertImage": {"steps": 2},
    "DomainGuidanceCamera": {"count": 3},
    "DomainGuidanceGeneratorMesh": {"resolution": 16, "density": 0.2},
    "DomainGuidancePaintMesh": {"texture_size": 64},
}
GUIDING = ("DomainGuidanceApply", "DomainGuidanceSynchroniseViews")  # what may stand before a sampler
# Positions and sizes of masks shrink with the picture, 512 -> 64.
SHRUNK = {"SolidMask": ("width", "height"), "MaskComposite": ("x", "y")}


def test_there_are_twins():
    assert len(TWINS) >= 6


@pytest.fixture(scope="module")
def named_minis(host, minis, base_directory):
    """Mini models under the names that people's own files have; the domain was 'trained' with the mini encoder's empty
    prompt.
    """
    training_scenes.register(base_directory)
    minis.checkpoint(name=CHECKPOINT, text_encoder=True)
    minis.checkpoint(name=FINE_TUNE, text_encoder=True, change=mini_models.trained)
    graph = Graph()
    clip = graph.add("CheckpointLoaderSimple", ckpt_name=CHECKPOINT)[1]
    empty = host.value(graph, graph.add("CLIPTextEncode", clip=clip, text=""))[0][0]
    minis.domain(change=mini_models.trained, name=DOMAIN, cross_attn=empty)
    domain_adapter(host, minis, name=ADAPTER, cross_attn=empty)
    side_scenes.side_network(host, minis, name=SIDE_NETWORK)
    minis.lora(name=FEW_STEPS, seed=91)
    minis.controlnet(CONTROLNET)
    minis.controlnet(DEPTH_CONTROLNET)
    save_file({"too large to be made small": torch.zeros(1)}, str(minis.root / "checkpoints" / SHAPE_MODEL))
    minis.ip_adapter()
    write_spatial_generator(base_directory)
    save_file({"replaced by a smaller one": torch.zeros(1)}, str(minis.root / "clip_vision" / CLIP_VISION))
    shutil.copy(Path.cwd() / "input" / "example.png", base_directory / "input")
    if IP_ADAPTER_PACK.is_dir():
        host_process.load_pack(IP_ADAPTER_PACK)


def write_spatial_generator(base_directory):
    """A small EG3D generator in NVIDIA's own format; a process of its own writes the classes that its pickle names."""
    folder = base_directory / "temp" / "written"
    folder.mkdir()
    writer = host_process.PACK_ROOT / "tests" / "unit" / "generators" / "write_eg3d_files.py"
    subprocess.run(
        [sys.executable, writer, folder], check=True, env=os.environ | {"PYTHONPATH": str(host_process.PACK_ROOT)}
    )
    (base_directory / "models" / "generators").mkdir(exist_ok=True)
    shutil.copy(folder / "eg3d4.pkl", base_directory / "models" / "generators" / SPATIAL)


@pytest.fixture
def small_clip_vision(monkeypatch):
    """The host reads the size of a CLIP vision tower from its file, and knows none under 300 M parameters."""
    import comfy.clip_vision

    monkeypatch.setattr(comfy.clip_vision, "load", lambda path: mini_models.clip_vision())


def shrunk(graph):
    for node in graph.values():
        inputs = node["inputs"]
        inputs.update(SHORT.get(node["class_type"], {}))
        if node["class_type"] == "DomainGuidanceSampleGenerator":
            inputs["count"] = min(inputs["count"], 4)
        for name in SMALL.get(node["class_type"], ()):
            inputs[name] = 64
        for name in SHRUNK.get(node["class_type"], ()):
            inputs[name] //= 8
    return graph


def read(twin):
    graph = Graph(json.loads(twin.read_text(encoding="utf-8")))
    small = shrunk(graph) if needs_large_files(graph) else graph
    return without_shape_model(small)


def needs_large_files(graph):
    """Whether a graph draws with a user's own files: what comes with the pack is small, and runs as it is shipped."""
    return any(
        node["class_type"] in ("CheckpointLoaderSimple", "DomainGuidanceLoadGenerator") for node in graph.values()
    )


def needs_shape_model(graph):
    """Whether the graph makes a shape of a picture: the host knows no model of shapes under a gigabyte."""
    return any(node["class_type"] == "ImageOnlyCheckpointLoader" for node in graph.values())


def without_shape_model(graph):
    """The toy world's vase instead of the shape; test_shape_models.py samples shapes."""
    if not needs_shape_model(graph):
        return graph
    unwrapped = next(node_id for node_id, node in graph.items() if node["class_type"] == "UnwrapMesh")
    shaping = {unwrapped}
    while (
        more := {
            value[0]
            for node_id in shaping
            for value in graph[node_id]["inputs"].values()
            if isinstance(value, list) and graph[value[0]]["class_type"] != "VAEDecode"
        }
        - shaping
    ):
        shaping |= more
    toy = {"digit": "8", "stroke": "red", "ground": "any", "batch_size": 1}
    for node_id in shaping:
        graph[node_id] = {"class_type": "DomainGuidanceToyWorld", "inputs": toy}
    for node in graph.values():
        if node["inputs"].get("mesh") == [unwrapped, 0]:
            node["inputs"]["mesh"] = [unwrapped, 8]
    return graph


def links(graph, class_type):
    return [[node_id, 0] for node_id, node in graph.items() if node["class_type"] == class_type]


def needs_ip_adapter(graph):
    return any("IPAdapter" in node["class_type"] for node in graph.values())


def guided_samplers(graph):
    """The samplers' outputs whose model comes from a node that may stand before a sampler."""
    return [
        link
        for kind in ("KSampler", "DomainGuidanceReport")
        for link in links(graph, kind)
        if graph[graph[link[0]]["inputs"]["model"][0]]["class_type"] in GUIDING
    ]


def guidance_of(graph, sampler):
    """The Apply nodes that a sampler's model has passed."""
    node = graph[sampler[0]]["inputs"]["model"][0]
    while "model" in graph[node]["inputs"]:
        if graph[node]["class_type"] == "DomainGuidanceApply":
            yield node
        node = graph[node]["inputs"]["model"][0]


def without_sweeps(graph):
    """A copy in which nothing asks for a sweep, which refuses a weight of 0."""
    sweeps = [node_id for node_id, _ in links(graph, "DomainGuidanceSweep")]
    kept = graph.copy()
    for node_id, node in graph.items():
        if node_id in sweeps or any(
            isinstance(value, list) and value[0] in sweeps for value in node["inputs"].values()
        ):
            del kept[node_id]
    return kept


def uses(twin, node):
    return f'"{node}"' in twin.read_text(encoding="utf-8")


GUIDED = [twin for twin in TWINS if guided_samplers(json.loads(twin.read_text(encoding="utf-8")))]
DRAWING = ("DomainGuidanceSampleGenerator", "DomainGuidanceViewGenerator")
GENERATED = [twin for twin in TWINS if any(uses(twin, node) for node in DRAWING)]


def test_every_twin_is_executed():
    assert {*GUIDED, *GENERATED} == {*TWINS}


@pytest.mark.parametrize("twin", GUIDED, ids=lambda path: path.name)
def test_the_twin_makes_finite_pictures_that_the_domain_changed(host, named_minis, small_clip_vision, twin):
    graph = read(twin)
    if needs_ip_adapter(graph) and not IP_ADAPTER_PACK.is_dir():
        pytest.skip(f"IPAdapter_plus is not installed at {IP_ADAPTER_PACK}: {twin.name} was not executed")
    decoded = links(graph, "VAEDecode")
    assert decoded
    for link in decoded:
        check_pictures(host.value(graph, link))
    without = without_sweeps(graph)
    for link in guided_samplers(graph):
        for apply in guidance_of(graph, link):
            without[apply]["inputs"]["weight"] = 0.0
        assert not torch.equal(host.samples(graph, link), host.samples(without, link))


@pytest.mark.parametrize("twin", GENERATED, ids=lambda path: path.name)
def test_the_twin_draws_finite_pictures_with_each_of_its_generators(host, named_minis, twin):
    graph = read(twin)
    pictures = [host.value(graph, link) for node in DRAWING for link in links(graph, node)]
    for number, drawn in enumerate(pictures):
        check_pictures(drawn)
        assert all(not torch.equal(drawn, other) for other in pictures[:number])


@pytest.mark.parametrize(
    "node, slot",
    [("DomainGuidanceEvaluate", 0), ("DomainGuidanceSaveGenerator", 0), ("DomainGuidanceGeneratorMesh", 0)],
)
def test_the_nodes_at_the_end_of_a_twin_say_what_they_made(host, named_minis, small_clip_vision, node, slot):
    twins = [twin for twin in TWINS if uses(twin, node)]
    assert twins
    for twin in twins:
        graph = read(twin)
        assert all(host.value(graph, [node_id, slot]) for node_id, _ in links(graph, node))


def check_pictures(pictures):
    assert pictures.ndim == 4 and torch.isfinite(pictures).all()
    assert pictures.std() > 1e-3


def test_the_unconditional_twin_costs_two_evaluations_per_step(host, named_minis):
    """The empty prompt of a real text encoder, the one in the file and the sampler's positive are recognised as one."""
    graph = read(next(twin for twin in TWINS if twin.name == "unconditional.api.json"))
    (link,) = links(graph, "KSampler")
    with watch_evaluations() as seen:
        pictures = host.samples(graph, link, fresh=True)
    assert seen.elements(len(pictures), 2) == 2
