"""Generators' files in the real host: the model folder, conversion at first load, and what is refused."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from generator_scenes import SIDE, WRITER, assert_alike, drawn, load, refused, sheet, tiny, told, write_pair
from host_process import PromptError
from prompts import Graph
from scenes import assert_one_sentence


@pytest.fixture(scope="module")
def library(host):
    return host.library("domain_guidance.generators")


@pytest.fixture(scope="module")
def folder(base_directory):
    return base_directory / "models" / "generators"


@pytest.fixture(scope="module")
def native(host, base_directory):
    return write_pair(host, base_directory)


def checkpoint(weights):
    """As rosinality's converter writes it."""
    state, mean = sheet.rosinality(weights)
    return {"g_ema": state, "latent_avg": mean}


def test_the_folder_lists_generators_and_nothing_else_of_it(host, folder, base_directory, native):
    import folder_paths

    assert folder.is_dir()
    (folder / "log.jsonl").touch()
    output = base_directory / "output" / "generators"
    assert [str(folder), str(output)] == [str(Path(path)) for path in folder_paths.get_folder_paths("generators")]
    listed = folder_paths.get_filename_list("generators")
    assert set(native) <= set(listed) and "log.jsonl" not in listed


def test_registering_again_changes_nothing(host):
    import folder_paths

    before = (folder_paths.get_folder_paths("generators"), set(folder_paths.folder_names_and_paths["generators"][1]))
    host.library("nodes.comfy_host.generators.folders").register_folder()
    assert (folder_paths.get_folder_paths("generators"), folder_paths.folder_names_and_paths["generators"][1]) == before
    assert before[1] == {".pkl", ".pt", ".pth", ".safetensors"}


@pytest.fixture
def foreign(folder, request):
    """A rosinality checkpoint in a folder of its own: its place in the list, and its path."""
    place = folder / request.node.name[:40]
    place.mkdir()
    torch.save(checkpoint(tiny()), place / "faces.pt")
    yield f"{place.name}/faces.pt", place / "faces.pt"
    shutil.rmtree(place)


def loaded(host, name):
    graph = Graph()
    return host.value(graph, load(graph, name), fresh=True)


def watched_reads(host):
    files = host.library("nodes.comfy_host.generators.files")
    return patch.object(files, "open_foreign_file", wraps=files.open_foreign_file)


def test_a_checkpoint_is_converted_once_beside_itself_and_draws_what_it_drew(host, native, foreign, caplog):
    name, path = foreign
    with caplog.at_level(logging.INFO), watched_reads(host) as reads:
        first = loaded(host, name)
        assert reads.call_count == 1
        assert len(told(caplog)) == 1 and "faces.pt.safetensors" in told(caplog)[0]
        caplog.clear()
        again = loaded(host, name)
        assert reads.call_count == 1 and not told(caplog)
    assert {entry.name for entry in path.parent.iterdir()} == {"faces.pt", "faces.pt.safetensors"}
    assert first.card == again.card and first.card.origin.name == "faces.pt"
    assert all(torch.equal(first.weights[key], tensor) for key, tensor in again.weights.items())
    for one in (name, f"{name}.safetensors"):
        assert_alike(drawn(host, one), drawn(host, native[0]))


def test_an_nvidia_pickle_is_drawn_and_its_source_is_not_executed(host, folder, tmp_path):
    """Its embedded source would remove the canary."""
    subprocess.run([sys.executable, str(WRITER), str(tmp_path)], check=True, stdin=subprocess.DEVNULL)
    (tmp_path / "canary").touch()
    place = folder / "nvidia"
    place.mkdir()
    for name in ("nvidia4.pkl", "tensorflow4.pkl", "trainer.pt"):
        shutil.copy(tmp_path / name, place / name)
    first, *others = [
        drawn(host, f"nvidia/{name}", count=1) for name in ("nvidia4.pkl", "tensorflow4.pkl", "trainer.pt")
    ]
    assert first.shape == (1, 32, 32, 3) and first.std() > 0.05
    for other in others:
        assert_alike(other, first)
    assert (tmp_path / "canary").exists()
    shutil.rmtree(place)


def test_a_replaced_checkpoint_is_converted_anew_and_drawn_at_the_next_run(host, foreign):
    name, path = foreign
    before = drawn(host, name)
    torch.save(checkpoint(tiny(seed=5)), path)
    os.utime(path, (1e9, 1e9))
    after = drawn(host, name)
    assert (before - after).abs().max() > 0.1
    with watched_reads(host) as reads:
        assert_alike(drawn(host, f"{name}.safetensors"), after)
        loaded(host, name)
        assert reads.call_count == 0


def test_where_its_folder_cannot_be_written_the_conversion_goes_to_output(host, foreign, base_directory, library):
    name, path = foreign
    files = host.library("nodes.comfy_host.generators.files")
    output = base_directory / "output" / "generators" / "faces.pt.safetensors"

    def only_output(place, *arguments, **how):
        if place.parent == path.parent:
            raise PermissionError(13, "Permission denied")
        library.write_generator_file(place, *arguments, **how)

    try:
        with patch.object(files, "write_generator_file", only_output), watched_reads(host) as reads:
            loaded(host, name)
            assert output.exists() and not Path(f"{path}.safetensors").exists()
            loaded(host, name)
            assert reads.call_count == 1
    finally:
        output.unlink()


def test_where_nothing_can_be_written_the_generator_is_drawn_all_the_same(host, foreign, caplog):
    name, path = foreign
    files = host.library("nodes.comfy_host.generators.files")
    with (
        patch.object(files, "write_generator_file", side_effect=OSError(28, "No space left on device")),
        caplog.at_level(logging.WARNING),
    ):
        assert drawn(host, name).shape == (2, SIDE, SIDE, 3)
    assert any("could not be saved anywhere" in message for message in told(caplog))
    assert [entry.name for entry in path.parent.iterdir()] == ["faces.pt"]


def test_a_file_of_the_users_in_the_conversions_place_is_left_alone(host, foreign, library, base_directory):
    """A generator trained from the conversion and saved over it has the same origin, and a record."""
    name, path = foreign
    file = loaded(host, name)
    place = Path(f"{path}.safetensors")
    card = library.GeneratorCard(file.card.config, file.card.origin, {"prompt": "mine"})
    library.write_generator_file(place, file.weights, card)
    before = place.read_bytes()
    loaded(host, name)
    assert place.read_bytes() == before
    output = base_directory / "output" / "generators" / "faces.pt.safetensors"
    assert output.exists()
    output.unlink()


def test_a_file_that_appears_in_the_conversions_place_meanwhile_is_left_alone(host, foreign, base_directory):
    name, path = foreign
    files = host.library("nodes.comfy_host.generators.files")
    place, read = Path(f"{path}.safetensors"), files.open_foreign_file

    def read_slowly(*arguments):
        place.write_bytes(b"theirs")
        return read(*arguments)

    with patch.object(files, "open_foreign_file", read_slowly):
        loaded(host, name)
    assert place.read_bytes() == b"theirs"
    output = base_directory / "output" / "generators" / "faces.pt.safetensors"
    assert output.exists()
    output.unlink()


def test_a_refused_file_leaves_nothing_behind_and_says_why(host, folder):
    (folder / "hostile.pkl").write_bytes(b"\x80\x04cos\nsystem\n(X\x04\x00\x00\x00true\x85R." + b" " * 64)
    graph = Graph()
    message = refused(host, graph, load(graph, "hostile.pkl"))
    assert "'hostile.pkl'" in message and "system" in message
    assert not list(folder.glob("hostile.pkl?*"))
    (folder / "hostile.pkl").unlink()


@pytest.mark.parametrize("name", ["../../input/x.pkl", "/etc/passwd", "..\\x.pt", "not-there.pkl"])
def test_a_path_outside_of_the_folders_is_refused_by_host_and_node(host, name):
    import nodes

    graph = Graph()
    link = graph.add("DomainGuidanceLoadGenerator", generator_name=name)
    with pytest.raises(PromptError):
        host.value(graph, link)
    with pytest.raises(ValueError) as caught:
        nodes.NODE_CLASS_MAPPINGS["DomainGuidanceLoadGenerator"].execute(generator_name=name)
    assert_one_sentence(str(caught.value))


def test_the_weights_can_be_trained(host, native, foreign):
    """Tensors made in the host's inference mode could not."""
    for name in (native[0], foreign[0]):
        assert not any(tensor.is_inference() for tensor in loaded(host, name).weights.values())
