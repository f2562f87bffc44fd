"""The nodes of EG3D generators in the real host: views from all sides, meshes that the host saves, and what is
refused.
"""

import json
import struct
import sys
from unittest.mock import patch

import numpy as np
import pytest
import torch
from host_process import PACK_ROOT, PromptError
from messages import OUT_OF_MEMORY
from prompts import Graph
from scenes import assert_one_sentence

sys.path.append(str(PACK_ROOT / "tests" / "unit" / "generators"))

import eg3d_sheet
import sheet

RAYS, SAMPLES = 8, 6


@pytest.fixture(scope="module")
def library(host):
    return host.library("domain_guidance.generators")


@pytest.fixture(scope="module")
def eg3d(host):
    return host.library("domain_guidance.generators.eg3d")


@pytest.fixture(scope="module")
def name(host, library, eg3d, base_directory):
    """A generator whose volume has surfaces, in its folder."""
    weights = eg3d_sheet.weights()
    weights["decoder.net.2.weight"][0] *= -10
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    config = eg3d.infer_eg3d(shapes, rendering=eg3d.Rendering(resolution=RAYS, samples=SAMPLES, importance_samples=4))
    library.write_generator_file(
        base_directory / "models" / "generators" / "head.safetensors", weights, library.GeneratorCard(config)
    )
    return "head.safetensors"


@pytest.fixture(scope="module")
def generator(library, name, base_directory):
    return library.build_generator(library.read_generator_file(base_directory / "models" / "generators" / name))


def load(graph, name):
    return graph.add("DomainGuidanceLoadGenerator", generator_name=name)


def cameras(graph, **changes):
    return graph.add("DomainGuidanceCamera", **changes)


def view(graph, name, **changes):
    return graph.add(
        "DomainGuidanceViewGenerator", generator=load(graph, name), **{"seed": 3, "truncation": 1.0, **changes}
    )


def refused(host, graph, link):
    with pytest.raises(PromptError) as caught:
        host.value(graph, link)
    assert_one_sentence(caught.value.message)
    return caught.value.message


def test_each_head_is_seen_by_all_cameras_with_depth_and_normals(host, name, generator, library, eg3d):
    graph = Graph()
    node = view(
        graph,
        name,
        count=2,
        cameras=cameras(graph, arrangement="orbit", count=3, pitch=0.0, yaw_range=20.0, pitch_range=10.0),
    )
    images, depth, normals = (host.value(graph, node[output]) for output in range(3))
    assert images.shape == (6, 32, 32, 3) and depth.shape == normals.shape == (6, RAYS, RAYS, 3)
    poses = eg3d.orbit(3, yaw=torch.pi / 9, pitch=torch.pi / 18, tilt=0.0)
    with torch.no_grad():
        ws = generator.styles(library.latents([4], eg3d_sheet.Z))
        seen = list(generator.views(ws, generator.cameras(poses)))[2]
    torch.testing.assert_close(images[5], ((seen.image[0].clamp(-1, 1) + 1) / 2).movedim(0, -1), rtol=0, atol=1e-4)
    torch.testing.assert_close(depth[5, :, :, 0], ((3.3 - seen.depth[0, 0]) / 1.05).clamp(0, 1), rtol=0, atol=1e-4)
    torch.testing.assert_close((2 * normals - 1).norm(dim=-1), torch.ones(6, RAYS, RAYS), rtol=0, atol=1e-3)


def test_without_cameras_it_is_seen_from_the_front_and_a_latent_is_seen_again(host, name):
    graph = Graph()
    first = view(graph, name)
    again = graph.add("DomainGuidanceViewGenerator", generator=load(graph, name), seed=9, latent=first[3])
    front = view(graph, name, cameras=cameras(graph, arrangement="one", yaw=0.0, pitch=0.0))
    pictures = [host.value(graph, node[0]) for node in (first, again, front)]
    torch.testing.assert_close(pictures[1], pictures[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(pictures[2], pictures[0], rtol=0, atol=1e-5)


def test_rays_at_once_bounds_the_memory_and_changes_nothing_while_rays_and_samples_do(host, name):
    graph = Graph()
    usual, bounded, finer = view(graph, name), view(graph, name, rays_at_once=5), view(graph, name, rays=12, samples=9)
    pictures = [host.value(graph, node[0]) for node in (usual, bounded, finer)]
    torch.testing.assert_close(pictures[1], pictures[0], rtol=0, atol=1e-5)
    assert (pictures[2] - pictures[0]).abs().max() > 1e-3
    assert host.value(graph, finer[1]).shape == (1, 12, 12, 3)


def test_a_grid_has_a_picture_for_each_camera(host, name):
    graph = Graph()
    assert (
        len(host.value(graph, view(graph, name, cameras=cameras(graph, arrangement="grid", rows=2, columns=3))[0])) == 6
    )


def test_a_mesh_becomes_a_glb_with_its_vertices_faces_and_colours(host, name, base_directory):
    graph = Graph()
    mesh = graph.add(
        "DomainGuidanceGeneratorMesh", generator=load(graph, name), seed=3, truncation=1.0, resolution=24, density=0.3
    )
    found = host.value(graph, mesh[0])
    assert found.vertices.shape[0] == 1 and found.vertices.abs().max() < 0.55 and found.unlit
    save = graph.add("SaveGLB", mesh=mesh, filename_prefix="3d/by this test")
    host.run(graph)
    del save
    (path,) = (base_directory / "output" / "3d").glob("by this test*.glb")
    read = read_glb(path.read_bytes())
    assert (
        len(read["POSITION"]) == len(read["COLOR_0"]) == found.vertices.shape[1]
        and len(read["indices"]) == 3 * found.faces.shape[1]
    )
    assert (
        np.allclose(read["POSITION"], found.vertices[0].numpy()) and read["indices"].max() == len(read["POSITION"]) - 1
    )
    assert read["COLOR_0"].min() >= 0 and read["COLOR_0"].max() <= 1 and read["COLOR_0"].std() > 0.01


def asked_for(host, graph, link):
    """Bytes of the device that the host is asked for before this node works."""
    import comfy.model_management

    asked = []
    with patch.object(comfy.model_management, "free_memory", lambda needed, *others, **more: asked.append(needed)):
        host.value(graph, link, fresh=True)
    (needed,) = asked
    return needed


def test_the_device_is_asked_for_room_for_all_points_that_are_rendered_at_once(host, name):
    def asked(**changes):
        graph = Graph()
        return asked_for(host, graph, view(graph, name, **changes)[0])

    own, point = asked(), host.library("nodes.comfy_host.generators.pictures").POINT
    assert asked(samples=32) - own == point * RAYS**2 * (2 * 32 - SAMPLES - 4)
    assert asked(rays=16) - own == point * (16**2 - RAYS**2) * (SAMPLES + 4)
    assert own - asked(rays_at_once=5) == point * (RAYS**2 - 5) * (SAMPLES + 4)


def test_a_mesh_asks_for_room_for_its_grid_and_for_the_points_of_it_that_are_looked_up_at_once(host, name):
    def asked(resolution):
        graph = Graph()
        mesh = graph.add(
            "DomainGuidanceGeneratorMesh",
            generator=load(graph, name),
            seed=3,
            truncation=1.0,
            resolution=resolution,
            density=0.3,
        )
        return asked_for(host, graph, mesh[0])

    point = host.library("nodes.comfy_host.generators.pictures").POINT
    per_cell = (asked(32) - asked(16)) / (32**3 - 16**3)
    assert point + 16 < per_cell < 1.1 * point, (
        "what a look-up takes, and of a whole grid at least four numbers of four bytes"
    )
    with patch.object(host.library("nodes.comfy_host.generators.views"), "POINTS", 16**3):
        assert 16 < (asked(32) - asked(16)) / (32**3 - 16**3) < 32


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["PyTorch's", "the driver's"])
def test_running_out_of_memory_names_the_inputs_that_take_less(host, name, generator, error):
    graph = Graph()
    mesh = graph.add("DomainGuidanceGeneratorMesh", generator=load(graph, name), seed=91, resolution=8)
    with patch.object(type(generator), "field", side_effect=error()):
        assert "lower rays_at_once or samples" in refused(host, graph, view(graph, name, seed=91)[0])
        assert "lower resolution" in refused(host, graph, mesh[0])


def read_glb(content):
    """Attributes and indices of the one primitive, by the glTF 2.0 specification alone."""
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON"
    described, binary = json.loads(content[20 : 20 + size]), content[20 + size + 8 :]
    types = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
    widths = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}

    def accessor(number):
        entry = described["accessors"][number]
        place = described["bufferViews"][entry["bufferView"]]
        start = place.get("byteOffset", 0) + entry.get("byteOffset", 0)
        values = np.frombuffer(binary, types[entry["componentType"]], entry["count"] * widths[entry["type"]], start)
        return values.reshape(entry["count"], -1)

    (primitive,) = described["meshes"][0]["primitives"]
    return {key: accessor(number) for key, number in primitive["attributes"].items()} | {
        "indices": accessor(primitive["indices"])
    }


def test_colours_of_a_mesh_are_linear_light(host):
    views = host.library("nodes.comfy_host.generators.views")
    linear = views._linear_light(torch.tensor([0.0, 0.04045, 0.5, 1.0]))
    torch.testing.assert_close(linear, torch.tensor([0.0, 0.0031308, 0.21404, 1.0]), rtol=1e-4, atol=1e-6)


def test_a_density_that_is_nowhere_reached_is_said(host, name):
    graph = Graph()
    mesh = graph.add("DomainGuidanceGeneratorMesh", generator=load(graph, name), resolution=8, density=1000.0)
    assert "lower level" in refused(host, graph, mesh[0])


def test_cameras_above_the_pole_are_refused(host, name):
    graph = Graph()
    assert "lower pitch" in refused(
        host, graph, view(graph, name, cameras=cameras(graph, arrangement="grid", pitch=50.0, pitch_range=50.0))[0]
    )


@pytest.mark.parametrize("node", ["DomainGuidanceViewGenerator", "DomainGuidanceGeneratorMesh"])
def test_a_generator_of_pictures_is_refused(host, library, base_directory, node):
    weights = sheet.nvidia_weights(resolution=16)
    config = library.infer_config({key: tuple(tensor.shape) for key, tensor in weights.items()})
    library.write_generator_file(
        base_directory / "models" / "generators" / "flat.safetensors", weights, library.GeneratorCard(config)
    )
    graph = Graph()
    assert "draws images, not volumes" in refused(
        host, graph, graph.add(node, generator=load(graph, "flat.safetensors"))[0]
    )


# --- the nodes of all generators -------------------------------------------------------------------------------------


def test_sample_generator_draws_it_from_the_front(host, name):
    graph = Graph()
    sampled = graph.add("DomainGuidanceSampleGenerator", generator=load(graph, name), seed=3, count=2, truncation=1.0)
    front = view(graph, name, count=2)
    pictures = [host.value(graph, node[0]) for node in (sampled, front)]
    torch.testing.assert_close(pictures[0], pictures[1], rtol=0, atol=1e-5)
    labelled = graph.add("DomainGuidanceSampleGenerator", generator=load(graph, name), class_label=3)
    assert "no classes" in refused(host, graph, labelled[0])
