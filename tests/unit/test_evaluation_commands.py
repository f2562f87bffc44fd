"""`python -m domain_guidance evaluate | evaluate-generator`, on a tiny CLIP folder, painted plates and a tiny
generator.
"""

import json
import logging
import shutil
from pathlib import Path

import mini_clip
import mini_pipeline
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from domain_guidance.__main__ import main
from domain_guidance.data import FolderImages
from domain_guidance.diffusers_host.clip import ClipFolder
from domain_guidance.evaluation import clip_score, diversity, embed
from domain_guidance.generators import (
    Generator,
    GeneratorCard,
    GeneratorConfig,
    read_generator_file,
    write_generator_file,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders `images` (30 plates), `reference` (24 others), `clip`, and two generators of 32 px."""
    folder = tmp_path_factory.mktemp("evaluation")
    mini_pipeline.write_images(folder / "reference")
    mini_pipeline.write_images(folder / "both", count=54)
    (folder / "images").mkdir()
    for path in sorted((folder / "both").iterdir())[24:]:
        shutil.copy(path, folder / "images")
    mini_clip.write_clip(folder / "clip")
    for seed, name in enumerate(("adapted", "source")):
        torch.manual_seed(seed)
        config = GeneratorConfig(32, (8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)
        write_generator_file(folder / f"{name}.safetensors", Generator(config).state_dict(), GeneratorCard(config))
    return folder


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def evaluate(place, *words, images="images", clip="clip"):
    return main(
        [
            "evaluate",
            "--images",
            str(place / images),
            "--reference",
            str(place / "reference"),
            "--clip",
            str(place / clip),
            *map(str, words),
        ]
    )


def evaluate_generator(place, *words):
    return main(
        [
            "evaluate-generator",
            str(place / "adapted.safetensors"),
            "--reference",
            str(place / "reference"),
            "--clip",
            str(place / "clip"),
            *map(str, words),
        ]
    )


@pytest.fixture
def encodes_nothing(monkeypatch):
    monkeypatch.setattr(ClipFolder, "__call__", lambda *_: pytest.fail("a picture was encoded"))


def test_evaluate_says_the_measures_and_writes_numbers_and_plot(place, tmp_path, said):
    assert evaluate(place, "--out", tmp_path / "new" / "facts.json", "--plot", tmp_path / "other" / "plot.png") == 0
    facts = json.loads((tmp_path / "new" / "facts.json").read_text(encoding="utf-8"))
    assert (facts["images"], facts["reference_images"]) == (30, 24) and facts["encoder"] == "clip"
    assert facts["nearest"][0]["image"] == "024.png" and facts["nearest"][0]["reference"].endswith(".png")
    assert (
        "30 images compared with 24 reference images, as seen by clip." in said.text
        and f"Distance (KID) {max(facts['kid']['value'], 0.0):.3g}," in said.text
    )
    assert "fid" not in facts and "FID" not in said.text
    assert Image.open(tmp_path / "other" / "plot.png").width == 840


def test_a_folder_with_itself_is_at_no_distance_whatever_the_batches(place, tmp_path):
    assert evaluate(place, "--out", tmp_path / "facts.json", "--batch-size", 7, images="reference") == 0
    facts = json.loads((tmp_path / "facts.json").read_text(encoding="utf-8"))
    assert facts["cmmd"] == pytest.approx(0, abs=1e-9) and facts["precision"] == facts["recall"] == 1.0
    assert all(entry["image"] == entry["reference"] for entry in facts["nearest"])


def test_the_image_half_alone_gives_the_same_features(place, tmp_path):
    from transformers import CLIPVisionModelWithProjection

    CLIPVisionModelWithProjection.from_pretrained(place / "clip").save_pretrained(tmp_path / "half")
    source = FolderImages(place / "images")
    whole, half = (embed(source, ClipFolder(folder, CPU)).features for folder in (place / "clip", tmp_path / "half"))
    assert torch.allclose(whole, half, atol=1e-6) and whole.std(0).min() > 1e-4
    assert "cannot read text" in str(
        pytest.raises(ValueError, ClipFolder(tmp_path / "half", CPU).embed_text, "a plate").value
    )


def test_features_are_those_of_transformers_own_preparation(place):
    """32 px pictures need no resizing; mean and deviation are CLIP's."""
    from transformers import CLIPModel

    source = FolderImages(place / "images")
    pixels = torch.stack([source.load(number) for number in range(4)])
    mean, deviation = (
        torch.tensor(v)[:, None, None]
        for v in ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    )
    vision = CLIPModel.from_pretrained(place / "clip")
    with torch.no_grad():
        pooled = vision.vision_model(pixel_values=((pixels + 1) / 2 - mean) / deviation).pooler_output
        expected = vision.visual_projection(pooled)
    assert torch.allclose(embed(source, ClipFolder(place / "clip", CPU)).features[:4], expected, atol=1e-5)


def test_a_preprocessor_of_the_folder_is_heeded(place, tmp_path):
    shutil.copytree(place / "clip", tmp_path / "other")
    (tmp_path / "other" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    source = FolderImages(place / "images")
    ours, theirs = (embed(source, ClipFolder(folder, CPU)).features for folder in (place / "clip", tmp_path / "other"))
    assert not torch.allclose(ours, theirs, atol=1e-3)


def test_a_clip_without_its_projection_is_refused_rather_than_filled_with_noise(place, tmp_path, said):
    shutil.copytree(place / "clip", tmp_path / "clip")
    weights = load_file(tmp_path / "clip" / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "clip" / "model.safetensors", {"format": "pt"})
    assert evaluate(place, clip=tmp_path / "clip") == 1
    assert "lacks the weight 'visual_projection.weight': give a CLIP with its projection" in said.text


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda folder: (folder / "config.json").unlink(), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "cannot be read as JSON (it holds a list, expected"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'), "its config.json names 'bert'"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights in the safetensors format"),
    ],
)
def test_a_folder_of_something_else_is_refused_in_a_sentence(place, tmp_path, said, spoil, words):
    shutil.copytree(place / "clip", tmp_path / "clip")
    spoil(tmp_path / "clip")
    assert evaluate(place, clip=tmp_path / "clip") == 1
    stopped = [record.message for record in said.records if record.message.startswith("Stopped: ")]
    assert len(stopped) == 1 and words in stopped[0] and "\n" not in stopped[0]


def test_weights_in_a_pickle_are_not_read(place, tmp_path, said):
    shutil.copytree(place / "clip", tmp_path / "clip")
    torch.save(load_file(tmp_path / "clip" / "model.safetensors"), tmp_path / "clip" / "pytorch_model.bin")
    (tmp_path / "clip" / "model.safetensors").unlink()
    assert evaluate(place, clip=tmp_path / "clip") == 1
    assert "no weights in the safetensors format" in said.text


@pytest.mark.parametrize(
    "words, said_of_it",
    [
        (("--batch-size", 0), "--batch-size is 0"),
        (("--neighbours", 0), "--neighbours 0"),
        (("--reference", "nowhere"), "no image folder 'nowhere'"),
    ],
)
def test_options_that_make_no_sense_are_refused(place, said, words, said_of_it):
    assert evaluate(place, *words) == 1
    assert said_of_it in said.text


def test_a_result_that_cannot_be_written_is_named(place, tmp_path, said):
    (tmp_path / "taken").write_text("a file, not a folder")
    assert evaluate(place, "--out", tmp_path / "taken" / "facts.json") == 1
    assert f"'{tmp_path / 'taken'}' cannot be read or written (File exists)" in said.text


def test_a_plot_of_another_format_is_refused_before_anything_is_measured(place, tmp_path, said, encodes_nothing):
    assert evaluate(place, "--plot", tmp_path / "plot.jpg") == 1
    assert "--plot is 'plot.jpg', expected the name of a .png file." in said.text


@pytest.mark.parametrize("name", ["images", "reference"])
def test_a_plot_among_the_pictures_is_refused_before_anything_is_measured(place, said, encodes_nothing, name):
    plot = place / name / "sub" / "plot.png"
    assert evaluate(place, "--plot", plot) == 1
    assert f"which is in --{name}, so it would be measured as a picture the next time" in said.text
    assert not plot.parent.exists()


def test_a_plot_of_a_generator_among_the_reference_is_refused(place, said, encodes_nothing):
    assert evaluate_generator(place, "--plot", place / "reference" / "plot.png") == 1
    assert "which is in --reference" in said.text


def test_a_stop_is_heard_between_batches(place, monkeypatch):
    from domain_guidance.commands import evaluate as command

    heard = []

    def check():
        heard.append(1)
        if len(heard) == 3:
            raise KeyboardInterrupt

    seen, original = [], ClipFolder.__call__
    monkeypatch.setattr(ClipFolder, "__call__", lambda self, pixels: seen.append(len(pixels)) or original(self, pixels))
    import argparse

    parser = argparse.ArgumentParser()
    command.add_evaluate_options(parser)
    options = parser.parse_args(
        [
            "--images",
            str(place / "images"),
            "--reference",
            str(place / "reference"),
            "--clip",
            str(place / "clip"),
            "--batch-size",
            "10",
        ]
    )
    with pytest.raises(KeyboardInterrupt):
        command.evaluate(options, check)
    assert seen == [10, 10, 10]


# --- evaluate-generator ----------------------------------------------------------------------------------------------


def test_a_generator_is_measured_by_the_papers_protocol(place, tmp_path, said):
    assert (
        evaluate_generator(
            place,
            "--count",
            60,
            "--groups",
            5,
            "--source",
            place / "source.safetensors",
            "--prompt",
            "a plate",
            "--out",
            tmp_path / "f.json",
        )
        == 0
    )
    facts = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert (facts["images"], facts["reference_images"], facts["truncation"], facts["groups"]) == (60, 24, 0.7, 5)
    assert facts["nearest"][59]["image"] == "seed 59"
    # The same pictures as `generate` draws, measured by hand.
    drawn = tmp_path / "drawn"
    assert (
        main(
            [
                "generate",
                str(place / "adapted.safetensors"),
                "--seeds",
                "0-59",
                "--truncation",
                "0.7",
                "--out",
                str(drawn),
            ]
        )
        == 0
    )
    encoder = ClipFolder(place / "clip", CPU)
    features = torch.nn.functional.normalize(embed(FolderImages(drawn), encoder).features.double(), dim=1)
    assert facts["diversity"] == pytest.approx(diversity(features), rel=1e-5)
    groups = torch.tensor([diversity(group) for group in features.split(12)])
    assert facts["diversity_in_groups"] == pytest.approx([groups.mean().item(), groups.std().item()], rel=1e-5)
    assert facts["clip_score"] == pytest.approx(clip_score(features, encoder.embed_text("a plate")), rel=1e-5)
    assert facts["source_diversity"] != pytest.approx(facts["diversity"], rel=1e-3)
    assert (
        "Diversity in 5 groups of 12 seeds" in said.text and "60 images" in said.text and "of it is left" in said.text
    )


def test_a_generator_keeps_all_of_its_own_diversity(place, tmp_path, said):
    assert evaluate_generator(place, "--count", 8, "--groups", 2, "--source", place / "adapted.safetensors") == 0
    assert "100% of it is left" in said.text


def test_a_source_whose_pictures_are_all_alike_has_no_diversity_to_keep(place, tmp_path, said):
    read = read_generator_file(place / "source.safetensors")
    weights = {name: torch.zeros_like(tensor) for name, tensor in read.weights.items()}
    write_generator_file(tmp_path / "grey.safetensors", weights, read.card)
    words = ("--count", 8, "--groups", 2, "--source", tmp_path / "grey.safetensors", "--out", tmp_path / "f.json")
    assert evaluate_generator(place, *words) == 0
    assert json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["source_diversity"] < 1e-9
    assert "The source's diversity is 0 at the same seeds: its pictures are all alike" in said.text


def test_two_thousand_samples_at_truncation_seven_tenths_are_the_default():
    import argparse

    from domain_guidance.commands.evaluate_generator import add_evaluate_generator_options

    parser = argparse.ArgumentParser()
    add_evaluate_generator_options(parser)
    options = parser.parse_args(["g.safetensors", "--reference", "r", "--clip", "c"])
    assert (options.count, options.truncation) == (2000, 0.7)


def test_a_class_is_drawn_where_the_generator_knows_it(place, tmp_path, said):
    config = GeneratorConfig(32, (8, 8, 8, 8), z_dim=8, w_dim=8, c_dim=3, mapping_layers=2)
    write_generator_file(tmp_path / "classes.safetensors", Generator(config).state_dict(), GeneratorCard(config))
    nearest = []
    for label in (0, 2):
        words = [
            "evaluate-generator",
            tmp_path / "classes.safetensors",
            "--reference",
            place / "reference",
            "--clip",
            place / "clip",
            "--count",
            8,
            "--groups",
            2,
            "--label",
            label,
            "--out",
            tmp_path / f"{label}.json",
        ]
        assert main([*map(str, words)]) == 0
        nearest.append([entry["distance"] for entry in json.loads((tmp_path / f"{label}.json").read_text())["nearest"]])
    assert nearest[0] != pytest.approx(nearest[1], abs=1e-4)
    assert evaluate_generator(place, "--label", 1) == 1
    assert "Label 1 was given, but the generator has no classes" in said.text


@pytest.mark.parametrize(
    "source, message",
    [
        ("missing.safetensors", "no generator file 'missing.safetensors'"),
        ("classes.safetensors", "Label 2 was given, but the generator has classes 0 to 1"),
    ],
)
def test_a_source_that_cannot_be_drawn_from_is_refused_before_anything_is_drawn(
    place, tmp_path, said, encodes_nothing, source, message
):
    for name, classes in (("adapted.safetensors", 3), ("classes.safetensors", 2)):
        config = GeneratorConfig(32, (8, 8, 8, 8), z_dim=8, w_dim=8, c_dim=classes, mapping_layers=2)
        write_generator_file(tmp_path / name, Generator(config).state_dict(), GeneratorCard(config))
    words = ["--reference", place / "reference", "--clip", place / "clip", "--label", 2, "--source", tmp_path / source]
    assert main([*map(str, ["evaluate-generator", tmp_path / "adapted.safetensors", *words])]) == 1
    assert message in said.text


def test_what_is_measured_is_kept_where_the_source_is_given_up(place, tmp_path, said, monkeypatch):
    from domain_guidance.commands import evaluate_generator as command

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "embed", stopped)
    assert (
        evaluate_generator(
            place, "--count", 8, "--groups", 2, "--source", place / "source.safetensors", "--out", tmp_path / "f.json"
        )
        == 130
    )
    facts = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert facts["images"] == 8 and len(facts["diversity_in_groups"]) == 2 and "source_diversity" not in facts
    assert "8 images compared with 24" in said.text and "Diversity in 2 groups" in said.text


@pytest.mark.parametrize("words", [("--count", 1), ("--groups", 0), ("--count", 8, "--groups", 5)], ids=str)
def test_counts_and_groups_that_leave_no_pairs_are_refused(place, said, words):
    assert evaluate_generator(place, *words) == 1
    assert "at least 2 pictures for each" in said.text


# --- FID -------------------------------------------------------------------------------------------------------------


def test_fid_without_torch_fidelity_says_what_to_do_before_anything_is_measured(
    place, said, monkeypatch, encodes_nothing
):
    from domain_guidance.evaluation import fidelity

    monkeypatch.setattr(fidelity, "find_spec", lambda name: None)
    for command in (evaluate, evaluate_generator):
        said.clear()
        assert command(place, "--inception", place / "weights.pth") == 1
        assert (
            "needs the package torch-fidelity, which is not installed: install it, or leave the option off" in said.text
        )


@pytest.mark.parametrize("command", [evaluate, evaluate_generator])
def test_what_is_measured_is_said_and_written_before_fid_which_is_added(place, tmp_path, said, monkeypatch, command):
    from domain_guidance.commands import evaluate as module

    out = tmp_path / "f.json"
    words = (
        "--inception",
        "w.pth",
        "--out",
        out,
        *(("--count", 8, "--groups", 2) if command is evaluate_generator else ()),
    )
    before, features = [], torch.randn(9, 4, generator=torch.Generator().manual_seed(0))

    def read(source, network, device, check):
        before.append(json.loads(out.read_text(encoding="utf-8")))
        assert " reference images, as seen by clip." in said.text
        check()
        return features[: 8 if len(before) == 1 else 9]

    monkeypatch.setattr(module, "load_inception", lambda weights: torch.nn.Identity())
    monkeypatch.setattr(module, "inception_features", read)
    monkeypatch.setattr(module, "frechet_distance", lambda ours, theirs: 1.25)
    assert command(place, *words) == 0
    found = {"fid": 1.25, "fid_images": 8, "fid_reference_images": 9}
    assert json.loads(out.read_text(encoding="utf-8")) == before[0] | found and not before[0].keys() & found.keys()
    assert "FID 1.25 from 8 and 9 images" in said.text


def test_an_interrupt_during_fid_keeps_what_is_measured(place, tmp_path, said, monkeypatch):
    from domain_guidance.commands import evaluate as module

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "load_inception", lambda weights: torch.nn.Identity())
    monkeypatch.setattr(module, "inception_features", stopped)
    assert evaluate(place, "--inception", "w.pth", "--out", tmp_path / "f.json", "--plot", tmp_path / "plot.png") == 130
    assert (
        json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["images"] == 30
        and (tmp_path / "plot.png").exists()
    )
    assert "30 images compared with 24" in said.text


@pytest.fixture(scope="module")
def inception(place):
    """torch-fidelity's InceptionV3 with the random weights it is born with, as a file."""
    pytest.importorskip("torch_fidelity")
    from torch_fidelity import feature_extractor_inceptionv3 as module

    patch = pytest.MonkeyPatch()
    patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
    patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
    torch.manual_seed(0)
    network = module.FeatureExtractorInceptionV3("born", ["2048"])
    patch.undo()
    torch.save(network.state_dict(), place / "inception.pth")
    return place / "inception.pth"


def test_fid_is_said_with_its_numbers_of_images(place, tmp_path, said, inception):
    from domain_guidance.evaluation import frechet_distance, inception_features, load_inception

    assert evaluate(place, "--inception", inception, "--out", tmp_path / "f.json") == 0
    facts = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert (facts["fid_images"], facts["fid_reference_images"]) == (30, 24)
    assert "from 30 and 24 images" in said.text
    ours, theirs = (
        inception_features(FolderImages(place / name), load_inception(inception), CPU, lambda: None)
        for name in ("images", "reference")
    )
    assert ours.shape == (30, 2048) and facts["fid"] == pytest.approx(frechet_distance(ours, theirs), rel=1e-4)


def test_other_weights_and_pickles_that_would_run_something_are_refused_before_anything_is_measured(
    place, tmp_path, said, encodes_nothing
):
    pytest.importorskip("torch_fidelity")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")

    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    torch.save({"weight": Hostile()}, tmp_path / "hostile.pth")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "empty.pth").touch()
    for name in ("other.pth", "hostile.pth", "text.pth", "empty.pth", "missing.pth"):
        said.clear()
        assert evaluate(place, "--inception", tmp_path / name) == 1
        assert f"'{name}' does not hold torch-fidelity's InceptionV3 weights" in said.text
    assert not (tmp_path / "executed").exists()
