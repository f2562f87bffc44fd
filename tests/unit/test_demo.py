"""The demo: what it draws, what it says, and that a sign error in the domain term cannot hide."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from domain_guidance import demo
from domain_guidance.pictures import labelled_grid
from domain_guidance.toy_world import comparison
from domain_guidance.toy_world.methods import METHODS
from domain_guidance.toy_world.prompts import Prompts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The demo's own command."""
    folder = tmp_path_factory.mktemp("demo")
    demo.main(["--out", str(folder / "demo.png"), "--json", str(folder / "demo.json"), "--repeats", "2"])
    results = json.loads((folder / "demo.json").read_text())
    return folder, {row["method"]: row for row in results}


@pytest.fixture(scope="module")
def models():
    return comparison.load_models()


def test_the_demo_compares_six_rows_on_the_same_number_of_pictures(shown):
    _, rows = shown
    assert list(rows) == ["real", "base", "fine-tune", "DoG", "decoupled", "side network"]
    assert {row["count"] for row in rows.values()} == {100}


def test_decoupled_guidance_draws_what_was_asked_more_often_than_its_neighbours(shown):
    _, rows = shown
    assert rows["decoupled"]["digit"] > rows["DoG"]["digit"]
    assert rows["decoupled"]["digit"] > rows["fine-tune"]["digit"]
    assert rows["decoupled"]["stroke"] > 0.9


def test_decoupled_guidance_is_in_the_domain_and_the_base_is_not(shown):
    _, rows = shown
    assert rows["decoupled"]["distance"] < rows["base"]["distance"] / 4
    assert rows["real"]["distance"] < rows["decoupled"]["distance"]


def test_the_picture_has_a_cell_for_every_row_and_column(shown):
    folder, rows = shown
    image = Image.open(folder / "demo-methods.png")
    cells = labelled_grid.GAP + 96
    assert image.width == 2 * labelled_grid.MARGIN + labelled_grid.LABEL_WIDTH + demo.COLUMNS * cells
    assert image.height == 2 * labelled_grid.MARGIN + 2 * labelled_grid.HEADER + len(rows) * cells


def test_the_first_picture_is_that_of_the_readme(shown):
    """Up to rounding, which differs between machines."""
    folder, _ = shown
    drawn, kept = (
        torch.frombuffer(bytearray(Image.open(file).convert("RGB").tobytes()), dtype=torch.uint8).float()
        for file in (folder / "demo.png", ROOT / "docs" / "first-look.png")
    )
    assert (drawn - kept).abs().mean() < 1


def test_the_wrong_sign_of_the_domain_term_drives_pictures_away_from_the_domain(models):
    asked, reference = comparison.every_prompt(1), comparison.held_out_domain(300).images

    def distance(weight):
        images = comparison.sample(models, METHODS["decoupled"].build(models, cfg=3.0, weight=weight), asked, seed=77)
        return comparison.score(models, images, asked, reference).distance

    wrong, without, right = distance(-1.0), distance(0.0), distance(1.5)
    assert right < without / 2
    assert wrong > 1.1 * without


def test_methods_that_agree_in_theory_draw_the_same_picture_from_the_same_seed(models):
    """At cfg 1 the base's guidance, and DoG with the base as its own fine-tune, are the same plain sampling."""
    same = replace(models, fine_tune=models.base, domain=models.base)
    asked = Prompts(digit=torch.tensor([3, 8]), stroke=torch.tensor([0, 2]), ground=torch.tensor([-1, -1]))
    methods = (METHODS["base"].build(same, cfg=1.0), METHODS["DoG"].build(same, cfg=1.0))
    drawn = [comparison.sample(same, method, asked, seed=5) for method in methods]
    assert torch.equal(*drawn)


def test_real_pictures_show_what_each_prompt_asks_for_and_none_comes_twice(models):
    asked = comparison.every_prompt(4)
    images = comparison.held_out_as_asked(asked)
    assert len(images.flatten(1).unique(dim=0)) == len(asked) == 200
    scored = comparison.score(models, images, asked, comparison.held_out_domain(300).images)
    assert scored.digit > 0.93 and scored.stroke > 0.97


def test_a_grid_shows_every_picture_unsmoothed_in_its_own_cell():
    black, white = torch.full((3, 2, 2), -1.0), torch.full((3, 2, 2), 1.0)
    white[0, 0, 0] = -1
    grid = labelled_grid.labelled_grid(
        [labelled_grid.Row("row", ["line"], torch.stack([black, white]))], ["a", "b"], cell=10
    )
    left, top = labelled_grid.MARGIN + labelled_grid.LABEL_WIDTH, labelled_grid.MARGIN + labelled_grid.HEADER
    assert grid.crop((left, top, left + 10, top + 10)).getcolors() == [(100, (0, 0, 0))]
    second = grid.crop((left + 10 + labelled_grid.GAP, top, left + 20 + labelled_grid.GAP, top + 10))
    assert sorted(second.getcolors()) == [(25, (0, 255, 255)), (75, (255, 255, 255))]


def test_a_rows_examples_stand_under_its_lines_in_their_own_size():
    red = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 5, 5)
    row = labelled_grid.Row("row", ["line"], torch.zeros(1, 3, 2, 2), [red, -red])
    grid = labelled_grid.labelled_grid([row], ["a"], cell=100)
    left = labelled_grid.MARGIN
    reds = [(x, y) for x in range(grid.width) for y in range(grid.height) if grid.getpixel((x, y)) == (255, 0, 0)]
    assert len(reds) == 25 and min(x for x, _ in reds) == left and max(x for x, _ in reds) == left + 4
    below = reds[0][1]
    assert below > labelled_grid.MARGIN + labelled_grid.HEADER + 30 + labelled_grid.SMALL
    assert grid.getpixel((left + 5 + labelled_grid.GAP, below)) == (0, 255, 255)


def test_examples_that_reach_into_the_next_row_are_refused():
    row = labelled_grid.Row("row", ["line"], torch.zeros(1, 3, 2, 2), [torch.zeros(3, 64, 64)])
    with pytest.raises(ValueError, match="is 96 pixels high, and its examples of 64 pixels begin 56 pixels below"):
        labelled_grid.labelled_grid([row], ["a"], cell=96)


def test_values_outside_the_range_are_clamped_not_wrapped():
    assert labelled_grid.to_picture(torch.full((3, 1, 1), 1.2), 1).getpixel((0, 0)) == (255, 255, 255)


def test_rows_of_another_length_than_the_columns_are_refused():
    with pytest.raises(ValueError, match="rows hold 2 pictures and there are 3 columns"):
        labelled_grid.labelled_grid([labelled_grid.Row("row", [], torch.zeros(2, 3, 2, 2))], ["a", "b", "c"])


def test_a_distance_below_zero_is_shown_as_zero_and_kept_in_the_numbers(shown):
    _, rows = shown
    score = comparison.Score(**{key: rows["real"][key] for key in ("digit", "stroke", "distance", "count")})
    entry = demo.Entry("real", {}, torch.zeros(0), score)
    assert score.distance < 0
    assert "distance 0.000" in demo.describe(entry) and "distance 0.000, N = 100" in demo._lines(entry)


def test_a_row_that_takes_long_says_its_steps(monkeypatch, caplog):
    monkeypatch.setattr(demo, "SAY_EVERY", 0.0)
    with caplog.at_level("INFO"):
        counted = demo._counting(lambda x, sigma, asked: x + sigma, "base")
        assert counted(torch.ones(1), torch.ones(1), None) == 2
    assert caplog.messages == ["  drawing: base, step 1 of 20"]
