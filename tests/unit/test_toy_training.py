"""A user's training on the toy world, with the shipped command: docs/training.md with a tenth of its pictures, a
seventh of its steps.
"""

import importlib.util
import logging

import pytest
import torch
from PIL import Image

from domain_guidance.__main__ import main as command_line
from domain_guidance.diffusers_host.folder import EMPTY_PROMPT_FILE, DiffusersFolder, PixelSpace, encoder_of
from domain_guidance.diffusion.noise_schedule import scaled_linear
from domain_guidance.evaluation import scores, split_half
from domain_guidance.toy_world import checkpoints, comparison, evaluation, plates
from domain_guidance.toy_world.__main__ import main as toy_world
from domain_guidance.toy_world.digits import load_digits
from domain_guidance.toy_world.prompts import Prompts, encode_prompt
from domain_guidance.toy_world.scenes import paint_domain

PICTURES = 200
RATES = {"text-free": 1.5e-3, "adapter": 1e-2}
STEPS = 80


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy world")
    toy_world(["export", "--out", str(folder), "--pictures", str(PICTURES)])
    return folder


def train(world, form):
    """The command of docs/training.md, shorter."""
    words = {
        "base": world / "base",
        "images": world / "images",
        "out": world / "domains",
        "name": form,
        "form": form,
        "resolution": 16,
        "mirror": 0,
        "batch-size": 16,
        "learning-rate": RATES[form],
        "schedule": "cosine",
        "warmup": 5,
        "steps": STEPS,
        "evaluate-every": STEPS,
    }
    assert command_line(["train", *(word for name, value in words.items() for word in (f"--{name}", str(value)))]) == 0
    return world / "domains" / f"{form}.safetensors"


@pytest.fixture(scope="module")
def trained(world):
    forms = [form for form in RATES if form != "adapter" or importlib.util.find_spec("peft")]
    return [train(world, form) for form in forms]


@pytest.fixture(scope="module")
def judged(trained):
    everything = comparison.every_prompt(1)
    chosen = torch.arange(20) * 5 // 2  # each digit in two colours
    asked = Prompts(everything.digit[chosen], everything.stroke[chosen], everything.ground[chosen])
    return evaluation.evaluate(comparison.load_models(), trained, asked)


# --- the claim -------------------------------------------------------------------------------------------------------


def test_a_seventh_of_the_steps_covers_much_of_the_way_from_the_base_to_the_shipped_domain(judged, trained):
    _, base, shipped, *fresh = (found.score for found in judged)
    assert len(fresh) == len(trained) > 0
    assert shipped.distance < base.distance
    for score in fresh:
        assert (base.distance - score.distance) / (base.distance - shipped.distance) > 0.4


def test_what_was_asked_survives_the_fresh_domain(judged):
    _, base, _, *fresh = (found.score for found in judged)
    for score in fresh:
        assert score.digit > base.digit - 0.25 and score.stroke > 0.9


def test_the_rows_say_what_they_show_and_how_many_were_judged(judged):
    lines = [evaluation.describe(row) for row in judged]
    assert [line.split("  ")[0] for line in lines[:3]] == ["real, from the domain", "base", "shipped domain"]
    assert all("distance" in line and "(N=20)" in line for line in lines)


def test_the_picture_shows_every_digit_once_and_grows_with_the_rows():
    asked, score = comparison.every_prompt(1), comparison.Score(1.0, 1.0, 0.0, 50)
    shown = asked.digit[evaluation.shown(evaluation.COLUMNS)]
    assert sorted(shown.tolist()) == list(range(10))
    rows = [evaluation.Judged(name, torch.zeros(50, 3, 16, 16), score) for name in ("one", "two")]
    assert evaluation.picture(rows, asked).height > evaluation.picture(rows[:1], asked).height


def test_a_domain_file_read_for_judging_is_the_shipped_domain_itself():
    models = comparison.load_models()
    again = evaluation.with_domain(models, checkpoints.FOLDER / checkpoints.DOMAIN)
    x, sigma = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 4.0])
    assert torch.equal(again.domain(x, sigma, models.empty), models.domain(x, sigma, models.empty))
    assert not torch.allclose(models.base(x, sigma, models.empty), models.domain(x, sigma, models.empty), atol=1e-2)


# --- a user's folders ------------------------------------------------------------------------------------------------


def test_the_exported_base_is_the_shipped_one_with_its_empty_prompt_and_its_noise_levels(world):
    base, (unet, table) = DiffusersFolder(str(world / "base")), checkpoints.load_base()
    exported, shipped = base.unet().state_dict(), unet.state_dict()
    assert exported.keys() == shipped.keys() and all(torch.equal(exported[name], shipped[name]) for name in shipped)
    assert torch.equal(base.prompt().cross_attn, encode_prompt(table)) and base.prompt().pooled_output is None
    schedule, prediction = base.schedule()
    assert torch.equal(schedule.sigmas, scaled_linear().sigmas) and prediction == "epsilon"


def test_the_exported_pictures_are_plates_to_the_precision_of_a_picture_file(world):
    files = sorted((world / "images").iterdir())
    assert len(files) == PICTURES
    painted = paint_domain(load_digits("domain"), PICTURES, torch.Generator().manual_seed(plates.SEED)).images
    for number in (0, PICTURES - 1):
        shown = (
            torch.frombuffer(bytearray(Image.open(files[number]).tobytes()), dtype=torch.uint8)
            .view(16, 16, 3)
            .movedim(-1, 0)
        )
        assert (shown / 127.5 - 1 - painted[number]).abs().max() <= 0.5 / 127.5 + 1e-6


def test_a_base_without_vae_is_trained_and_drawn_in_pixels(world, trained, tmp_path):
    base = DiffusersFolder(str(world / "base"))
    vae, pixels = base.vae(), torch.rand(2, 3, 16, 24) * 2 - 1
    mean, logvar = encoder_of(vae, torch.device("cpu"))(pixels)
    assert isinstance(vae, PixelSpace) and base.latent_cell == 1
    assert torch.equal(mean, pixels) and logvar is None and torch.equal(vae.decode(mean).sample, pixels)
    words = [
        "--base",
        world / "base",
        "--domain",
        trained[0],
        "--out",
        tmp_path,
        "--width",
        16,
        "--height",
        16,
        "--steps",
        2,
        "--count",
        1,
    ]
    assert command_line(["sample", *map(str, words)]) == 0
    assert Image.open(tmp_path / "000000.png").size == (16, 16)


def test_a_prompt_for_a_base_without_text_encoder_is_refused_in_one_sentence(world, trained, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    words = ["--base", world / "base", "--domain", trained[0], "--out", tmp_path, "--prompt", "a plate"]
    assert command_line(["sample", *map(str, words)]) == 1
    assert (
        "has no text encoder, and it cannot read 'a plate': leave the prompt out, or give a folder with a text encoder"
        in caplog.text
    )


def test_a_folder_with_neither_text_encoder_nor_stored_prompt_names_the_file_that_it_lacks(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "DiffusionPipeline", "text_encoder": [null, null]}')
    with pytest.raises(
        ValueError, match=f"has no text encoder, and it holds no {EMPTY_PROMPT_FILE} either: add one, or give"
    ):
        DiffusersFolder(str(tmp_path)).prompt()


# --- the pictures that come with the pack ----------------------------------------------------------------------------


def test_the_shipped_sheet_is_the_one_that_the_command_paints(tmp_path):
    toy_world(["sheet", "--out", str(tmp_path / "sheet.png")])
    ours, theirs = (
        torch.frombuffer(bytearray(Image.open(path).tobytes()), dtype=torch.uint8).int()
        for path in (tmp_path / "sheet.png", plates.SHEET)
    )
    assert (ours - theirs).abs().max() <= 1  # a level where another machine's arithmetic rounds the other way


def test_the_sheet_is_cut_into_the_pictures_that_were_painted():
    images = plates.read_sheet()
    painted = plates.painted_plates(plates.ACROSS**2).float() / 255
    assert images.shape == (256, 16, 16, 3) and (images - painted).abs().max() <= 1.01 / 255


def test_the_sheet_lies_in_the_domain_and_not_in_the_open_world():
    judge = checkpoints.load_judge()
    sheet = judge.read(plates.read_sheet().movedim(-1, 1) * 2 - 1).features
    held_out = judge.read(comparison.held_out_domain(256).images).features
    assert abs(scores.kernel_distance(sheet, held_out)) < 2 * split_half(held_out, confidence=0.5) + 0.02
