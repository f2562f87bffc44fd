"""Evaluate Images in the real host: pictures of the toy world, a CLIP vision model of the host's own class."""

import json
from unittest.mock import patch

import mini_models
import pytest
import torch
from host_process import PromptError
from PIL import Image
from prompts import Graph
from scenes import assert_one_sentence


def evaluation(digit="3", **inputs):
    """A graph that compares 24 pictures which the toy world draws with its plates, and its evaluation node."""
    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit=digit, stroke="red", ground="any", batch_size=24)
    guided = graph.add("DomainGuidanceApply", model=toy[0], domain_model=toy[1], weight=1.5)
    drawn = graph.add(
        "KSampler",
        model=guided,
        positive=toy[3],
        negative=toy[4],
        latent_image=toy[5],
        seed=1,
        steps=2,
        cfg=3.0,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
    )
    given = {
        "images": graph.add("VAEDecode", samples=drawn, vae=toy[2]),
        "reference": toy[6],
        "clip_vision": graph.add("ProbeClipVision"),
    }
    node = graph.add(
        "DomainGuidanceEvaluate", **{name: value for name, value in {**given, **inputs}.items() if value is not None}
    )
    return graph, node


@pytest.fixture
def output(base_directory, tmp_path):
    """A name that no other test's file has, and the folder it is written to."""
    return tmp_path.name, base_directory / "output"


def written(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def refusal(host, graph, node):
    with pytest.raises(PromptError) as caught:
        host.value(graph, node)
    assert_one_sentence(caught.value.message)
    return caught.value.message


def test_pictures_of_the_toy_world_are_measured_drawn_and_written(host, output):
    name, folder = output
    graph, node = evaluation(save_name=name)
    text, picture, file = (host.value(graph, node[number]) for number in range(3))
    facts = written(folder, file)
    assert file == f"{name}.json" and (facts["images"], facts["reference_images"]) == (24, 256)
    assert text.startswith("24 images compared with 256 reference images, as seen by clip of width 64 at 224 px.")
    assert (
        f"Distance (KID) {facts['kid']['value']:.3g}" in text
        and "with 24 images the distance is only a rough estimate" in text
    )
    assert picture.shape[0] == 1 and picture.shape[2:] == (840, 3) and picture.min() >= 0 and picture.max() <= 1
    assert len(facts["nearest"]) == 24 and facts["nearest"][0]["image"] == "image 1 of the batch"


def test_of_two_pictures_the_distance_is_told_without_an_interval(host, output):
    name, folder = output
    graph, node = evaluation(save_name=name)
    graph[node.id]["inputs"]["images"] = graph.add(
        "ImageFromBatch", image=graph[node.id]["inputs"]["images"], batch_index=0, length=2
    )[0]
    assert "no interval with fewer than 4 images; 0 means no difference." in host.value(graph, node[0])
    kid = written(folder, f"{name}.json")["kid"]
    assert kid["low"] is kid["high"] is None and isinstance(kid["value"], float)


def test_the_features_are_the_hosts_image_embeddings(host):
    """Whatever the pictures' shape, and in whichever batch they are seen."""
    library, encoder_of = (
        host.library("domain_guidance.evaluation"),
        host.library("nodes.comfy_host.evaluation").HostEncoder,
    )
    images = torch.rand(5, 40, 56, 3, generator=torch.Generator().manual_seed(0))
    clip_vision = mini_models.clip_vision()
    with torch.inference_mode():
        expected = clip_vision.encode_image(images)["image_embeds"]
        found = library.embed(
            host.library("domain_guidance.data").BatchImages(images), encoder_of(clip_vision), batch_size=2
        ).features
    assert found.shape == (5, 32) and expected.std() > 0.05
    assert torch.allclose(
        found, expected.float(), atol=2e-3 * expected.abs().max().item()
    )  # a level of 255 may round the other way


def test_a_model_without_a_size_of_its_own_is_given_squares_of_its_patches(host):
    """SigLIP 2, whose size in the host's config is -1."""
    from comfy.clip_vision import ClipVisionModel

    config = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "patch_size": 16,
        "num_patches": 9,
        "hidden_act": "gelu_pytorch_tanh",
        "model_type": "siglip2_vision_model",
        "num_channels": 3,
        "image_size": -1,
    }
    clip_vision = ClipVisionModel(config)
    clip_vision.load_sd(mini_models._random_like(clip_vision.get_sd(), 5))
    library, encoder = (
        host.library("domain_guidance.evaluation"),
        host.library("nodes.comfy_host.evaluation").HostEncoder(clip_vision),
    )
    assert encoder.size == 48
    images = torch.rand(3, 70, 90, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = library.embed(
            host.library("domain_guidance.data").BatchImages(images), encoder, batch_size=2
        ).features
    assert features.shape[0] == 3 and features.std() > 0


def test_pictures_that_are_the_reference_are_told_as_copies(host, output):
    name, folder = output
    graph, node = evaluation(save_name=name)
    graph[node.id]["inputs"]["images"] = graph[node.id]["inputs"]["reference"]
    assert "Memorisation is suspected" in host.value(graph, node[0])
    facts = written(folder, f"{name}.json")
    assert facts["cmmd"] == pytest.approx(0, abs=1e-9) and facts["precision"] == facts["recall"] == 1.0
    assert {entry["distance"] for entry in facts["nearest"]} == {0.0} and facts["memorisation"]["copies"] == 256


def test_a_folder_is_read_and_a_broken_picture_left_out(host, base_directory, output):
    name, folder = output
    real = base_directory / "input" / name
    (real / "more").mkdir(parents=True)
    plates = host.library("domain_guidance.toy_world.plates").read_sheet()[:30]
    for number, plate in enumerate(plates):
        Image.fromarray((plate * 255).round().byte().numpy()).resize((32 + number, 40)).save(
            real / ("more" if number % 3 else "") / f"{number}.png"
        )
    (real / "broken.png").write_bytes(b"no picture")
    graph, node = evaluation(reference=None, reference_folder=name, save_name=name)
    host.value(graph, node)
    facts = written(folder, f"{name}.json")
    assert facts["reference_images"] == 30 and all(entry["reference"].endswith(".png") for entry in facts["nearest"])
    # The same graph again is not run; a new picture in the folder makes it run.
    assert host.value(graph, node[2]) == f"{name}.json"
    Image.new("RGB", (40, 40), "red").save(real / "new.png")
    assert host.value(graph, node[2]) == f"{name}-2.json"
    assert written(folder, f"{name}-2.json")["reference_images"] == 31 and written(folder, f"{name}.json") == facts


def test_a_cancel_stops_between_batches_and_writes_nothing(host, output):
    import comfy.model_management

    name, folder = output
    encoder = host.library("nodes.comfy_host.evaluation").HostEncoder
    seen, original = [], encoder.__call__

    def encode(self, pixels):
        seen.append(len(pixels))
        if len(seen) == 3:
            comfy.model_management.interrupt_current_processing()
        return original(self, pixels)

    graph, node = evaluation(save_name=name)
    probe = graph.add("ProbeCapture", value=node)
    with patch.object(encoder, "__call__", encode):
        assert probe.id not in host.run(graph)
    assert "execution_interrupted" in [event for event, _ in host._executor.status_messages]
    assert seen == [16, 8, 16] and not list(folder.glob(f"{name}*"))


def test_the_progress_bar_counts_the_pictures_of_both_sets(host, output):
    import comfy.utils

    graph, node = evaluation(save_name=output[0])
    heard = []
    with patch.object(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: heard.append((value, total))
    ):
        host.value(graph, node)
    counts = [value for value, total in heard if total == 24 + 256]
    assert (
        counts[0] == 16 and counts == sorted(counts) and counts[-1] == 280
    )  # the host leaves out some that follow fast


def test_the_model_is_left_as_it_was(host, output):
    clip_vision = mini_models.clip_vision()
    before = {name: tensor.clone() for name, tensor in clip_vision.get_sd().items()}
    graph, node = evaluation(save_name=output[0])
    with patch.object(mini_models, "clip_vision", lambda: clip_vision):
        host.value(graph, node)
    assert all(torch.equal(before[name], tensor) for name, tensor in clip_vision.get_sd().items())


def test_what_cannot_be_compared_is_refused_in_a_sentence(host, base_directory, output):
    name, folder = output
    assert "neither reference nor a folder" in refusal(host, *evaluation(reference=None))
    (base_directory / "input" / name).mkdir()
    assert "holds no images" in refusal(host, *evaluation(reference=None, reference_folder=name))
    assert "holds no images" in refusal(host, *evaluation(reference_folder=name)), "a folder wins over pictures"
    assert "plain name without folders" in refusal(host, *evaluation(save_name="../outside"))
    assert "Windows does not allow '\"' in names" in refusal(host, *evaluation(save_name='"best"'))
    graph, node = evaluation(save_name=name)
    graph[node.id]["inputs"]["images"] = graph.add("ProbeImage", seed=1)[0]  # one picture is no set
    assert "at least 2 of each" in refusal(host, graph, node)
    assert not list(folder.glob(f"{name}*"))


@pytest.mark.parametrize("folder", ["..", "../models", "/etc"])
def test_a_folder_outside_of_the_input_folder_is_never_read(host, folder):
    with pytest.raises(ValueError, match="outside ComfyUI's input folder"):
        host.library("nodes.comfy_host.input_folder").image_source(None, folder, "Evaluate Images", say=str)
    with pytest.raises(PromptError):
        host.value(*evaluation(reference=None, reference_folder=folder))


def test_an_output_folder_that_cannot_be_written_is_named(host, output):
    graph, node = evaluation(save_name=output[0])
    with patch.object(
        host.library("nodes.comfy_host.evaluation"), "write_json", side_effect=PermissionError(13, "Permission denied")
    ):
        message = refusal(host, graph, node)
    assert "cannot be written (Permission denied)" in message
