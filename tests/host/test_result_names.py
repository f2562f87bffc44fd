"""A result is the file that was just written, whatever lies in the host's other folders under its name."""

import shutil
import subprocess
import sys

import adapt_scenes
import pytest
import torch
from generator_scenes import load, write_pair
from host_process import PACK_ROOT
from prompts import Graph
from safetensors.torch import load_file, save_file
from scenes import EMPTY, build
from test_evaluate import evaluation
from training_scenes import Training, register, result_of

HOLDER = """
import sys
from domain_guidance.runs import RunFiles
with RunFiles.claim(sys.argv[1], sys.argv[2], "resume") as files:
    print(files.name, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module", autouse=True)
def folders(host, base_directory):
    register(base_directory)
    adapt_scenes.register(host)


@pytest.mark.parametrize(("form", "kind"), [("adapter", "loras"), ("text-free", "diffusion_models")])
@pytest.mark.parametrize("ending", ["", ".best"])
def test_a_training_takes_no_name_that_another_folder_has_and_hands_on_its_own_result(
    host, minis, base_directory, form, kind, ending
):
    name = f"style {form}{ending}"
    first = Training(minis, save_name=f"older {form}{ending}", form=form, steps=1)
    host.value(first.graph, first.node[0])
    older = base_directory / "models" / kind / f"{name}{ending}.safetensors"
    older.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(result_of(first, base_directory), older)
    before = older.read_bytes()
    training = Training(minis, save_name=name, form=form, seed=9)
    assert host.value(training.graph, training.node[2]) == f"{name}-2.safetensors"
    assert older.read_bytes() == before
    assert (base_directory / "output" / kind / f"{name}-2.safetensors").is_file()


@pytest.mark.parametrize(("form", "kind"), [("adapter", "loras"), ("text-free", "diffusion_models")])
def test_a_run_that_goes_on_hands_on_its_own_result_and_says_which_file_the_loaders_find(
    host, minis, base_directory, caplog, form, kind
):
    name = f"continued {form}"
    training = Training(minis, save_name=name, form=form, steps=1)
    host.value(training.graph, training.node[2])
    moved = base_directory / "models" / kind / f"{name}.safetensors"
    moved.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(result_of(training, base_directory), moved)
    longer = Training(minis, save_name=name, form=form, steps=3)
    read, module = [], host.library("nodes.comfy_host.training.train")
    reader = "read_domain_adapter" if form == "adapter" else "read_domain_unet"
    original = getattr(module, reader)

    def noted(*arguments):
        read.append(arguments[-1])
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, reader, noted)
        assert host.value(longer.graph, longer.node[2]) == f"{name}.safetensors"
    assert read == [result_of(longer, base_directory)]
    assert any(str(moved) in record.getMessage() for record in caplog.records)


def test_a_saved_domain_takes_no_name_that_another_folder_has(host, minis, base_directory):
    s = build(minis)
    (base_directory / "models" / "diffusion_models" / "old plates.safetensors").write_bytes(b"somebody's own")
    node = s.graph.add("DomainGuidanceSaveUNet", model=s.model, name="old plates", empty_conditioning=s.prompt(EMPTY))
    assert host.value(s.graph, node) == "old plates-2.safetensors"


def test_a_saved_generator_takes_no_name_that_another_folder_has(host, base_directory):
    graph, (first, _) = Graph(), write_pair(host, base_directory)
    node = graph.add(
        "DomainGuidanceSaveGenerator", generator=load(graph, first), name=first.removesuffix(".safetensors")
    )
    assert host.value(graph, node).startswith("first-")


def saving_is_raced(host, monkeypatch, path):
    """While a file for `path` is written, somebody puts another one there."""
    writer = host.library("domain_guidance.files.atomic_file")
    original = writer.save_file

    def raced(*arguments):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"somebody's own")
        return original(*arguments)

    monkeypatch.setattr(writer, "save_file", raced)


def test_a_file_that_comes_while_a_domain_is_saved_is_not_overwritten(host, minis, base_directory, monkeypatch):
    folder = base_directory / "output" / "diffusion_models"
    s = build(minis)
    node = s.graph.add("DomainGuidanceSaveUNet", model=s.model, name="raced", empty_conditioning=s.prompt(EMPTY))
    saving_is_raced(host, monkeypatch, folder / "raced.safetensors")
    assert host.value(s.graph, node) == "raced-2.safetensors"
    assert (folder / "raced.safetensors").read_bytes() == b"somebody's own"
    assert host.library("domain_guidance.domains.domain_file").read_card(folder / "raced-2.safetensors")
    assert sorted(path.name for path in folder.glob("*raced*")) == ["raced-2.safetensors", "raced.safetensors"]


def test_a_file_that_comes_while_a_generator_is_saved_is_not_overwritten(host, base_directory, monkeypatch):
    folder = base_directory / "output" / "generators"
    graph, (first, _) = Graph(), write_pair(host, base_directory)
    node = graph.add("DomainGuidanceSaveGenerator", generator=load(graph, first), name="raced")
    saving_is_raced(host, monkeypatch, folder / "raced.safetensors")
    assert host.value(graph, node) == "raced-2.safetensors"
    assert (folder / "raced.safetensors").read_bytes() == b"somebody's own"
    assert host.library("domain_guidance.generators").read_generator_card(folder / "raced-2.safetensors")
    assert sorted(path.name for path in folder.glob("*raced*")) == ["raced-2.safetensors", "raced.safetensors"]


def test_an_adaptation_takes_no_name_that_another_folder_has(host, minis, base_directory):
    folder = base_directory / "models" / "generators"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"other": torch.zeros(1)}, folder / "bronze of old.safetensors")
    adaptation = adapt_scenes.Adaptation(minis, save_name="bronze of old", steps=1)
    assert host.value(adaptation.graph, adaptation.node[3]) == "bronze of old-2.safetensors"
    assert load_file(folder / "bronze of old.safetensors").keys() == {"other"}


@pytest.mark.parametrize("kind", ["training", "adaptation"])
def test_a_run_that_another_process_makes_is_refused_in_a_sentence(host, minis, base_directory, kind):
    scene = Training if kind == "training" else adapt_scenes.Adaptation
    asked = scene(minis, save_name=f"shared {kind}", steps=1)
    folder = base_directory / "output" / ("loras" if kind == "training" else "generators")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder, asked.name],
        cwd=PACK_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().strip() == asked.name
        with pytest.raises(Exception, match="is in use by another process, such as a second server"):
            host.value(asked.graph, asked.node[0])
    finally:
        process.communicate("\n")
    host.value(asked.graph, asked.node[0])


def test_an_evaluation_that_another_process_writes_meanwhile_is_not_overwritten(host, base_directory, monkeypatch):
    module = host.library("nodes.comfy_host.evaluation")
    original, path = module.compare, base_directory / "output" / "race.json"

    def raced(*arguments, **settings):
        made = original(*arguments, **settings)
        path.write_text("of another process")
        return made

    monkeypatch.setattr(module, "compare", raced)
    graph, node = evaluation(save_name="race")
    host.value(graph, node[0])
    assert path.read_text() == "of another process"
    assert path.with_name("race-2.json").is_file()
