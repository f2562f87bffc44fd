"""Foreign generator files, honest and hostile: read to the last digit or refused with the reason, and nothing of them
is executed.
"""

import ast
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import hostile_files
import pytest
import sheet
import torch

from domain_guidance.generators import (
    GeneratorFileError,
    build_generator,
    convert,
    open_generator_file,
    read_generator_file,
)
from domain_guidance.generators.readers.budget import Budget
from domain_guidance.generators.readers.pickle_machine import Machine

HERE = Path(__file__).parent / "generators"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

PLAIN = [
    "nvidia3.pkl",
    "nvidia4.pkl",
    "tensorflow3.pkl",
    "tensorflow4.pkl",
    "tensorflow-scalars3.pkl",
    "tensorflow-scalars4.pkl",
    "rosinality.pt",
    "rosinality-old.pt",
    "trainer.pt",
]
REFUSED = {
    "stylegan3.pkl": "StyleGAN3",
    "resnet.pkl": "'resnet' architecture",
    "orig.pkl": "'orig' architecture",
    "unknown-key.pkl": "'synthesis.b8.attention.weight'",
    "missing-key.pkl": "'synthesis.b8.conv1.bias' is missing",
    "wrong-shape.pkl": r"\[6, 7, 3, 3\], expected \[6, 8, 3, 3\]",
    "gap-between-blocks.pkl": r"\[4, 16, 32\]",
    "nan.pkl": "'synthesis.b16.conv0.bias' holds NaN",
    "infinity.pkl": "'mapping.w_avg' holds NaN or infinity",
    "integers.pkl": "'mapping.w_avg' is not a tensor of floating-point",
    "other-filter.pkl": "filter 'synthesis.b4.resample_filter'",
    "no-averaged-generator.pkl": "'G_ema'",
    "generator-itself.pkl": "'G_ema'",
    "stylegan1.pkl": "StyleGAN1",
    "tensorflow-resnet.pkl": "'resnet' architecture",
    "tensorflow-labels-1.pkl": "labels are concatenated",
    "tensorflow-pair.pkl": "'Gs'",
    "tensorflow-unknown.pkl": "'secret'",
    "tensorflow-objects.pkl": "other than plain numbers",
    "tensorflow-big-endian.pkl": "little-endian",
    "progressive-gan.pkl": "Progressive GAN",
    "eg3d.pkl": "EG3D generator without options of its rendering",
    "numpy-5.pkl": "_frombuffer",
    "no-key.pt": "'g_ema'",
    "stylegan1.pt": "StyleGAN1",
    "number-key.pt": "'7'",
    "text-for-weights.pt": "'style.1.weight' is not a tensor",
    "nan.pt": "'mapping.w_avg' holds NaN",
    "torchscript.pt": "TorchScript",
    "sparse.pt": "_rebuild_sparse_tensor",
    "expanded.pt": "beyond the 1 numbers",
    "one-storage-many-tensors.pt": "more numbers than the file has room for",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of files that a program of its own has written; those in `refused` are honest, but something else."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "canary").touch()
    subprocess.run([sys.executable, HERE / "write_files.py", folder], check=True, env=ENVIRONMENT)
    return folder


@pytest.fixture(scope="module")
def watched(files, tmp_path_factory):
    """What became of every hostile file, and of the honest ones, in an interpreter that reports what it does."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "canary").touch()
    for name, (content, _) in hostile_files.hostile(folder / "canary").items():
        (folder / name).write_bytes(content)
    before = [sorted(place.iterdir()) for place in (folder, files)]
    command = [sys.executable, HERE / "read_watched.py", folder, files]
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert [sorted(place.iterdir()) for place in (folder, files)] == before  # the canaries too
    return json.loads(run.stdout)


def equal(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


# --- honest files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLAIN)
def test_every_format_gives_the_weights_that_were_written(files, name):
    file = open_generator_file(files / name)
    expected = sheet.nvidia_weights()
    if name.startswith("tensorflow"):  # 1 was taken from the modulation's biases, and is added again
        biases = [key for key in expected if key.endswith("affine.bias")]
        assert all(torch.allclose(file.weights[key], expected[key], atol=1e-6) for key in biases)
        expected |= {key: file.weights[key] for key in biases}
    assert equal(file.weights, expected)
    assert (file.card.config.z_dim, file.card.config.w_dim, file.card.config.mapping_layers) == (
        sheet.Z,
        sheet.W,
        sheet.DEPTH,
    )
    assert file.card.config.widths == tuple(sheet.WIDTHS.values()) and file.card.config.conv_clamp is None


def test_a_generator_with_labels_whose_embedding_was_lost_is_refused_and_not_taken_for_one_without(files):
    with pytest.raises(
        GeneratorFileError, match="reads 22 numbers, more than the 12 of a style.*give the original file"
    ):
        open_generator_file(files / "without-its-label-embedding.pt")


@pytest.mark.parametrize("name", ["nvidia-labels.pkl", "tensorflow-ada.pkl"])
def test_labels_and_the_clamp_are_read(files, name):
    file = open_generator_file(files / name)
    assert file.card.config.c_dim == sheet.CLASSES and file.card.config.conv_clamp == 256
    expected = sheet.nvidia_weights(classes=sheet.CLASSES)
    assert file.weights.keys() == expected.keys()
    assert all(torch.allclose(file.weights[key], tensor, atol=1e-6) for key, tensor in expected.items())


def test_the_same_weights_in_all_formats_draw_the_same_picture(files):
    z = torch.randn(2, sheet.Z, generator=torch.Generator().manual_seed(3))
    pictures = [build_generator(open_generator_file(files / name))(z) for name in PLAIN]
    assert pictures[0].std() > 0.1
    assert max(float((picture - pictures[0]).abs().max()) for picture in pictures) < 1e-5


def test_half_precision_is_read_as_float32(files):
    file = open_generator_file(files / "nada.pt")
    weights = sheet.nvidia_weights()
    assert all(tensor.dtype == torch.float32 for tensor in file.weights.values())
    assert torch.equal(file.weights["synthesis.b4.const"], weights["synthesis.b4.const"].half().float())


def test_a_missing_mean_is_estimated_and_missing_noise_is_drawn_the_same_each_time(files):
    one, two = (open_generator_file(files / "without-noise-and-mean.pt") for _ in range(2))
    assert equal(one.weights, two.weights)
    assert set(one.card.origin.estimated) == {name for name in one.weights if name.endswith(("noise_const", "w_avg"))}
    weights = {name: tensor for name, tensor in one.weights.items() if name not in one.card.origin.estimated}
    assert equal(
        weights,
        {name: tensor for name, tensor in sheet.nvidia_weights().items() if name not in one.card.origin.estimated},
    )
    mapping = build_generator(one).mapping
    styles = mapping(torch.randn(20_000, sheet.Z, generator=torch.Generator().manual_seed(7)))
    error = (styles.mean(0) - one.weights["mapping.w_avg"]) / styles.std(0)
    assert error.abs().max() < 5 * (1 / 4096 + 1 / 20_000) ** 0.5


def test_the_card_names_the_file_that_was_converted(files, tmp_path):
    import hashlib

    card = convert(files / "nvidia4.pkl", tmp_path / "faces.safetensors")
    assert (
        card.origin.name == "nvidia4.pkl"
        and card.origin.kind == "NVIDIA PyTorch pickle"
        and card.architecture == "stylegan2"
    )
    assert card.origin.sha256 == hashlib.sha256((files / "nvidia4.pkl").read_bytes()).hexdigest()
    file = read_generator_file(tmp_path / "faces.safetensors")
    assert file.card == card and equal(file.weights, sheet.nvidia_weights())


def test_source_in_a_pickle_that_would_delete_a_file_is_never_run(files, watched):
    """The loader of the format runs it: `canary` would be gone."""
    assert b"os.remove" in (files / "nvidia4.pkl").read_bytes()
    results = {name: watched["files"][name] for name in PLAIN}
    assert all(result == {"said": None, "did": []} for result in results.values())
    assert (files / "canary").exists()


def test_the_readers_import_nothing_that_loads_or_runs_code():
    package = Path(__file__).parents[2] / "domain_guidance" / "generators"
    nodes = [node for path in package.rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    imported = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    assert "torch" in imported and "memoryview" in called
    assert not imported & {"pickle", "importlib", "imp", "runpy", "marshal", "subprocess", "shelve"}
    assert not called & {"eval", "exec", "compile", "__import__", "torch.load", "np.load", "numpy.load"}


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_stylegan2_is_refused_by_name(files, name, tmp_path):
    with pytest.raises(GeneratorFileError, match=REFUSED[name]) as caught:
        convert(files / "refused" / name, tmp_path / "out.safetensors")
    message = str(caught.value)
    assert name in message and message.endswith(".") and "\n" not in message and len(message) < 300
    assert list(tmp_path.iterdir()) == []


def test_every_refusal_of_an_honest_file_is_tested(files):
    assert {path.name for path in (files / "refused").iterdir()} == REFUSED.keys()


def test_layers_that_clamp_to_different_bounds_are_refused(files):
    with pytest.raises(GeneratorFileError, match="clamp"):
        open_generator_file(files / "nvidia-two-clamps.pkl")


def test_a_missing_file_and_a_folder():
    for path in ("nowhere.pkl", Path(__file__).parent):
        with pytest.raises(GeneratorFileError, match="There is no generator file .*: check its name and folder"):
            open_generator_file(path)


def test_a_file_beyond_the_limit_is_refused_before_it_is_opened(tmp_path):
    with open(tmp_path / "large.pkl", "wb") as file:
        file.truncate(2**32 + 1)  # a hole: it takes no room on the disk
    with pytest.raises(GeneratorFileError, match="4,294,967,297 bytes"):
        open_generator_file(tmp_path / "large.pkl")


HOSTILE = hostile_files.hostile("canary")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_for_its_reason_and_does_nothing(watched, name):
    result = watched["files"][name]
    assert result["did"] == []
    assert result["said"] is not None and re.search(HOSTILE[name][1], result["said"])
    assert (
        name in result["said"]
        and result["said"].endswith(".")
        and "\n" not in result["said"]
        and len(result["said"]) < 300
    )


def test_everything_that_a_file_can_name_is_kept_under_text():
    """Whole numbers can be chosen so that finding one among 100,000 takes a millisecond; with what text's hash is made,
    no file knows.
    """
    stored = pickle.dumps({7: {2**40, 3}, -1: [{2**33: "a"}], "b": "c"}, 4)
    machine = Machine(memoryview(stored.replace(b"\x94", b"r\x00\x00\x00\x80", 1)), {}, Budget())
    assert machine.load() == {"7": {str(2**40), "3"}, "-1": [{str(2**33): "a"}], "b": "c"}
    assert machine.memo.keys() > {str(2**31)} and set(map(type, machine.memo)) == {str}


def test_the_watch_over_hostile_files_would_see_pythons_unpickler(watched):
    assert any(event.startswith("pickle.find_class") for event in watched["control"])


def test_hostile_files_take_no_memory_worth_the_name(watched):
    """The interpreter with PyTorch takes about a third of it; what the files ask for is gigabytes."""
    assert watched["peak_bytes"] < 1.5 * 2**30


@pytest.mark.parametrize(
    "name", ["nvidia3.pkl", "nvidia4.pkl", "tensorflow4.pkl", "rosinality.pt", "rosinality-old.pt"]
)
def test_a_file_cut_off_anywhere_is_refused(files, name, tmp_path):
    whole = (files / name).read_bytes()
    for share in range(1, 20):
        cut = tmp_path / f"{share}.cut"
        cut.write_bytes(whole[: len(whole) * share // 20])
        with pytest.raises(GeneratorFileError, match="cut off|damaged"):
            open_generator_file(cut)


@pytest.mark.parametrize("name", ["nvidia4.pkl", "tensorflow4.pkl", "rosinality.pt", "rosinality-old.pt"])
def test_a_file_damaged_anywhere_is_read_or_refused_and_nothing_else(files, name, tmp_path):
    whole, random = bytearray((files / name).read_bytes()), torch.Generator().manual_seed(0)
    damaged = tmp_path / "damaged"
    for _ in range(150):
        changed = bytearray(whole)
        for place in torch.randint(len(whole), (3,), generator=random):
            changed[place] = int(torch.randint(256, (), generator=random))
        damaged.write_bytes(changed)
        try:
            open_generator_file(damaged)
        except GeneratorFileError as error:
            assert str(error).endswith(".") and "\n" not in str(error)
