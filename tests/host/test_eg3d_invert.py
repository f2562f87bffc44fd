"""A picture's way back into an EG3D generator, by the camera that it was taken with, in the real host."""

import sys

import torch
from host_process import PACK_ROOT
from prompts import Graph
from test_eg3d_nodes import cameras, eg3d, library, load, name, refused, view  # noqa: F401

sys.path.append(str(PACK_ROOT / "tests" / "unit" / "generators"))

import sheet


def invert(graph, name, image, **changes):
    return graph.add(
        "DomainGuidanceInvertImage",
        generator=load(graph, name),
        image=image,
        **{"steps": 60, "candidates": 8, **changes},
    )


def test_a_head_seen_from_the_side_is_found_again_by_its_camera(host, name):
    graph = Graph()
    side = cameras(graph, arrangement="one", yaw=25.0, pitch=0.0)
    picture = view(graph, name, cameras=side)
    told, untold = invert(graph, name, picture[0], cameras=side), invert(graph, name, picture[0])
    wanted = host.value(graph, picture[0])
    errors = [(host.value(graph, node[1]) - wanted).square().mean() for node in (told, untold)]
    assert errors[0] < errors[1]
    again = view(graph, name, cameras=side, latent=told[0])
    torch.testing.assert_close(host.value(graph, again[0]), host.value(graph, told[1]), rtol=0, atol=1e-4)


def test_cameras_that_do_not_fit_the_pictures_are_refused(host, name, library, base_directory):
    graph = Graph()
    picture = view(graph, name)
    assert "2 cameras" in refused(
        host, graph, invert(graph, name, picture[0], cameras=cameras(graph, arrangement="orbit", count=2))[0]
    )
    weights = sheet.nvidia_weights(resolution=16)
    config = library.infer_config({key: tuple(tensor.shape) for key, tensor in weights.items()})
    library.write_generator_file(
        base_directory / "models" / "generators" / "flat.safetensors", weights, library.GeneratorCard(config)
    )
    assert "not volumes" in refused(
        host, graph, invert(graph, "flat.safetensors", picture[0], cameras=cameras(graph, arrangement="one"))[0]
    )
