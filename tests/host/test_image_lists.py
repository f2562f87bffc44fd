"""A list of images is one set, whatever their sizes, as the host's dataset nodes hand them over."""

import json

import pytest
from host_process import PromptError
from PIL import Image
from prompts import Graph
from scenes import assert_one_sentence
from training_scenes import IMAGES, SIDE, Training, handwriting, log_of, register, result_of


class ProbeImageList:
    """Pictures of two sizes, each an item of its own."""

    RETURN_TYPES = ("IMAGE",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"default": IMAGES}), "wide": ("INT", {"default": 0})}}

    def make(self, count, wide):
        pictures = [*handwriting(count, SIDE).split(1)]
        return ([*pictures, *(picture.repeat(1, 1, 2, 1) for picture in pictures[:wide])],)


class ProbeNumbers:
    """A list of numbers."""

    RETURN_TYPES = ("INT",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"default": 2})}}

    def make(self, count):
        return ([*range(1, count + 1)],)


@pytest.fixture(autouse=True)
def probes(host, base_directory):
    import nodes

    register(base_directory)
    for probe in (ProbeImageList, ProbeNumbers):
        nodes.NODE_CLASS_MAPPINGS[probe.__name__] = probe


def test_a_list_is_trained_on_as_one_set_bit_for_bit_as_the_batch_is(host, minis, base_directory):
    batch, listed = Training(minis, save_name="from a batch"), Training(minis, save_name="from a list", images=None)
    listed.graph[listed.node.id]["inputs"]["images"] = listed.graph.add("ProbeImageList")[0]
    for training in (batch, listed):
        host.value(training.graph, training.node)
    assert f"{IMAGES} images used" in log_of(listed, base_directory)[0]["message"]
    assert not list(result_of(listed, base_directory).parent.glob("from a list-2*"))
    losses = [
        [line["loss"] for line in log_of(training, base_directory) if line["event"] == "step"]
        for training in (batch, listed)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 6


def test_pictures_of_different_sizes_are_one_set(host, minis, base_directory):
    t = Training(minis, save_name="two sizes", images=None)
    t.graph[t.node.id]["inputs"]["images"] = t.graph.add("ProbeImageList", count=8, wide=4)[0]
    host.value(t.graph, t.node)
    assert "12 images used" in log_of(t, base_directory)[0]["message"]


def test_the_hosts_own_dataset_loader_feeds_one_training(host, minis, base_directory, tmp_path):
    folder = base_directory / "input" / tmp_path.name
    folder.mkdir(parents=True)
    for number, picture in enumerate(handwriting(9).mul(255).round().byte()):
        Image.fromarray(picture.numpy()).save(folder / f"{number}.png")
    t = Training(minis, save_name="the host's dataset", images=None)
    loader = t.graph.add("LoadImageDataSetFromFolder", folder=tmp_path.name)
    t.graph[t.node.id]["inputs"]["images"] = loader[0]
    host.value(t.graph, t.node)
    assert "9 images used" in log_of(t, base_directory)[0]["message"]


def test_a_list_at_any_other_input_is_refused(host, minis):
    t = Training(minis, save_name="two seeds")
    t.graph[t.node.id]["inputs"]["seed"] = t.graph.add("ProbeNumbers", count=2)[0]
    with pytest.raises(PromptError) as caught:
        host.value(t.graph, t.node)
    assert_one_sentence(caught.value.message)
    assert "Train Domain got a list of 2 for seed" in caught.value.message


def test_lists_of_images_are_evaluated_as_two_sets(host, base_directory, tmp_path):
    graph = Graph()
    node = graph.add(
        "DomainGuidanceEvaluate",
        images=graph.add("ProbeImageList", count=5, wide=2),
        reference=graph.add("ProbeImageList", count=8),
        clip_vision=graph.add("ProbeClipVision"),
        save_name=tmp_path.name,
    )
    host.value(graph, node)
    facts = json.loads((base_directory / "output" / f"{tmp_path.name}.json").read_text(encoding="utf-8"))
    assert (facts["images"], facts["reference_images"]) == (7, 8)
