"""From pictures to features, and from measures to words, plots and files."""

import json
import logging
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from domain_guidance.data import BatchImages, FolderImages
from domain_guidance.evaluation import (
    Estimate,
    as_json,
    centre_square,
    compare,
    describe,
    draw_measures,
    embed,
    embedding,
    measure,
    write_json,
)
from domain_guidance.evaluation.measures_picture import COLUMNS, WIDTH, Pair
from domain_guidance.evaluation.panels import IMAGES, draw_distance


class Thumbnails:
    """An encoder whose features are the picture itself at 4 x 4 pixels."""

    name, size = "thumbnails", 4

    def __call__(self, pixels):
        self.sizes = [*getattr(self, "sizes", []), len(pixels)]
        return pixels.flatten(1)


def pictures(seed, count, height=8, width=8):
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(seed))


def compared(ours, theirs, **options):
    return compare(BatchImages(ours), BatchImages(theirs), Thumbnails(), **options)


def normal(seed, count, width=6, mean=0.0):
    return mean + torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


# --- embedding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("height, width", [(40, 64), (64, 40), (33, 97), (8, 24), (20, 20)])
def test_the_middle_of_a_picture_is_cut_as_pillow_would(height, width):
    """Pillow's bicubic is antialiased in reduction and has the same taps; both round to levels of 255."""
    size = 16
    rows, columns = torch.linspace(0, 3, height)[:, None], torch.linspace(0, 5, width)
    smooth = torch.stack((torch.sin(rows + columns), torch.cos(rows - columns), torch.sin(rows * columns)))
    levels = ((smooth + 1) * 127.5).round().byte()
    scale = size / min(height, width)
    shape = (max(size, round(scale * width)), max(size, round(scale * height)))
    expected = np.asarray(
        Image.fromarray(levels.permute(1, 2, 0).numpy()).resize(shape, Image.Resampling.BICUBIC)
    ).astype(int)
    top, left = (expected.shape[0] - size) // 2, (expected.shape[1] - size) // 2
    expected = expected[top : top + size, left : left + size]
    found = (centre_square(levels / 127.5 - 1, size) + 1) * 127.5
    assert found.shape == (3, size, size)
    assert (
        np.abs(found.permute(1, 2, 0).numpy() - expected).max() <= 8
    )  # Pillow rounds between its two passes and has other taps
    assert np.abs(found.permute(1, 2, 0).numpy() - expected).mean() <= 1.5


@pytest.mark.parametrize("side", [1, 4, 5])
@pytest.mark.parametrize("length", [4000, 4001])
def test_a_long_thin_picture_is_seen_as_before_in_a_fraction_of_the_memory(side, length, monkeypatch):
    resized = []

    def counted(picture, shape, **options):
        resized.append(math.prod(shape))
        return interpolate(picture, shape, **options)

    monkeypatch.setattr(embedding, "interpolate", counted)
    strip = torch.sin(torch.arange(length) / 5).expand(3, side, length)
    for picture in (strip, strip.transpose(1, 2)):
        seen = centre_square(picture, 28)
        assert max(resized) <= 28 * 28 * 33
        with monkeypatch.context() as before:
            before.setattr(embedding, "LEAST", length)
            assert (seen - centre_square(picture, 28)).abs().max() < 0.03
        resized.clear()


def test_a_picture_of_the_right_size_keeps_its_levels():
    levels = torch.randint(0, 256, (3, 9, 9), generator=torch.Generator().manual_seed(0))
    assert torch.equal((centre_square(levels / 127.5 - 1, 9) + 1).mul(127.5).round().long(), levels)


def test_batches_change_no_feature_and_are_counted():
    source, heard = BatchImages(pictures(0, 7)), []
    whole, encoder = embed(source, Thumbnails()), Thumbnails()
    parts = embed(source, encoder, batch_size=3, done=heard.append)
    assert torch.equal(whole.features, parts.features) and parts.places == list(range(7))
    assert encoder.sizes == [3, 3, 1] and heard == [3, 6, 7]


def test_broken_files_are_named_and_left_out_and_the_others_keep_their_place(tmp_path, caplog):
    for number, picture in enumerate(pictures(0, 4)):
        Image.fromarray((picture * 255).byte().numpy()).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    (tmp_path / "3.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        found = embed(FolderImages(tmp_path), Thumbnails(), batch_size=2)
    assert found.places == [0, 2] and len(found.features) == 2
    assert "'1.png' is left out" in caplog.text and "'3.png' is left out" in caplog.text
    for name in ("0.png", "2.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(ValueError, match="None of the 4 images can be read"):
        embed(FolderImages(tmp_path), Thumbnails())


def test_an_encoder_that_overflows_is_refused():
    class Overflowing(Thumbnails):
        def __call__(self, pixels):
            return pixels.flatten(1) * torch.inf

    with pytest.raises(ValueError, match="'thumbnails' hold NaN or infinity: load it in full precision"):
        embed(BatchImages(pictures(0, 3)), Overflowing())


# --- words -----------------------------------------------------------------------------------------------------------


def test_the_words_hold_every_number_with_its_number_of_images():
    measures = measure(normal(0, 60, mean=0.5), normal(1, 80))
    text = describe(measures, "an encoder").splitlines()
    assert text[0] == "60 images compared with 80 reference images, as seen by an encoder."
    assert f"{measures.kid.value:.3g}, 95% interval {measures.kid.low:.3g} to {measures.kid.high:.3g}" in text[1]
    assert f"CMMD {measures.cmmd:.3g}" in text[2]
    assert (
        f"Precision {measures.precision_recall.precision:.0%}" in text[3]
        and f"Recall {measures.precision_recall.recall:.0%}" in text[3]
    )
    assert f"Diversity {measures.diversity:.3g}" in text[4] and "of 60 images" in text[5]
    assert "Caution" not in "".join(text) and "compare runs with the same numbers" in text[6]


def test_no_distance_that_a_person_reads_is_below_zero_and_the_numbers_keep_theirs():
    measures = measure(normal(0, 200), normal(0, 200))  # the unbiased estimate of two equal sets lies below
    assert measures.kid.value < 0 and measures.kid.low < 0
    said = describe(measures, "it").splitlines()[1]
    assert said.startswith("Distance (KID) 0, 95% interval 0 to ") and "-" not in said


def test_a_difference_is_told_only_where_it_exceeds_that_of_halves():
    far, same = measure(normal(0, 200, mean=2.0), normal(1, 200)), measure(normal(0, 200), normal(1, 200))
    assert far.differs and "The images differ from the reference." in describe(far, "it")
    assert not same.differs and "No difference from the reference can be detected." in describe(same, "it")


def test_equal_distributions_are_rarely_told_to_differ():
    told = sum(measure(normal(n, 40), normal(700 + n, 40)).differs for n in range(60))
    assert told <= 4


@pytest.mark.parametrize(
    "ours, theirs, said",
    [
        (49, 200, "with 49 images the distance is only a rough estimate"),
        (200, 12, "with 12 images the distance is only a rough estimate"),
        (3, 60, "Precision and recall need more than 3 images"),
        (60, 19, "fewer than 20 different reference images"),
    ],
)
def test_small_numbers_of_images_are_warned_of(ours, theirs, said):
    assert said in describe(measure(normal(0, ours), normal(1, theirs)), "it")


@pytest.mark.parametrize("ours, theirs", [(2, 2), (2, 60), (60, 3), (4, 4)])
def test_the_smallest_sets_still_give_words_a_picture_and_json(ours, theirs):
    measures = measure(normal(0, ours), normal(1, theirs))
    assert describe(measures, "it") and draw_measures(measures, [], "it").width == 2 * WIDTH
    json.dumps(as_json(measures), allow_nan=False)


@pytest.mark.parametrize("ours, theirs", [(2, 60), (60, 3)])
def test_without_an_interval_there_is_the_value_alone_and_no_verdict(ours, theirs):
    measures = measure(normal(0, ours, mean=3.0), normal(1, theirs))
    text = describe(measures, "it")
    assert (
        f"Distance (KID) {measures.kid.value:.3g}, no interval with fewer than 4 images; 0 means no difference." in text
    )
    assert "The images differ" not in text and "No difference" not in text and ("Two halves" in text) == (theirs == 60)
    facts = json.loads(json.dumps(as_json(measures), allow_nan=False))
    assert facts["kid"] == {"value": measures.kid.value, "low": None, "high": None}


def test_without_an_interval_the_plot_has_the_dot_alone():
    """The same value with an interval has a line beside its dot."""
    measures = measure(normal(0, 60), normal(1, 80))
    value = measures.kid.value
    widths = []
    for estimate in (Estimate(value, value - 0.3, value + 0.3), Estimate(value, None, None)):
        plot = np.asarray(draw_distance(replace(measures, kid=estimate), 420, 250)).astype(int)
        columns = np.nonzero((plot == IMAGES).all(-1))[1]
        widths.append(columns.max() - columns.min())
    assert widths[0] > 40 and 10 <= widths[1] <= 16


def test_pictures_that_are_all_alike_are_no_error():
    alike = torch.ones(30, 6)
    measures = measure(alike, alike)
    assert measures.kid.value == pytest.approx(0, abs=1e-9) and measures.diversity == 0
    assert (
        draw_measures(measures, [], "it")
        and describe(measures, "it")
        and json.dumps(as_json(measures), allow_nan=False)
    )


# --- the closest pairs, picture and file -----------------------------------------------------------------------------


def test_the_closest_pairs_come_first_and_show_a_reference_image_once():
    reference = torch.eye(6)
    samples = torch.stack(
        [
            reference[2] + 0.3 * reference[0],
            reference[2] + 0.1 * reference[0],
            reference[4] + 0.2 * reference[0],
            reference[5],
        ]
    )
    measures = measure(samples, reference)
    assert measures.closest(8) == [3, 1, 2] and measures.closest(2) == [3, 1]
    assert measures.nearest.index.tolist() == [2, 2, 4, 5]


def test_a_comparison_names_each_pictures_nearest_reference_picture():
    ours, theirs = pictures(0, 30), pictures(1, 40)
    ours[7] = theirs[11]
    made = compared(ours, theirs)
    entry = made.facts["nearest"][7]
    assert entry == {"image": "image 8 of the batch", "reference": "image 12 of the batch", "distance": 0.0}
    assert made.facts["memorisation"]["copies"] == 1 and made.facts["memorisation"]["suspected"]
    assert "Memorisation is suspected" in made.text
    assert (made.facts["images"], made.facts["reference_images"], made.facts["encoder"]) == (30, 40, "thumbnails")


def test_a_broken_file_shifts_no_name_and_counts_as_read(tmp_path):
    """The first file of the reference is broken; each picture is its own nearest."""
    images = pictures(0, 5)
    for number, picture in enumerate(images):
        Image.fromarray((picture * 255).round().byte().numpy()).save(tmp_path / f"{number}.png")
    (tmp_path / "0.png").write_bytes(b"no picture")
    heard = []
    made = compare(BatchImages(images[1:]), FolderImages(tmp_path), Thumbnails(), batch_size=3, done=heard.append)
    assert [entry["reference"] for entry in made.facts["nearest"]] == ["1.png", "2.png", "3.png", "4.png"]
    assert heard == [3, 4, 7, 9] and made.facts["reference_images"] == 4


def test_what_is_not_compared_is_counted_and_named_in_the_text(tmp_path):
    images = pictures(0, 5)
    for number, picture in enumerate(images):
        Image.fromarray((picture * 255).round().byte().numpy()).save(tmp_path / f"{number}.png")
    (tmp_path / "0.png").write_bytes(b"no picture")
    (tmp_path / "a.psd").write_text("another kind")
    Image.new("RGB", (80, 10)).save(tmp_path / "panorama.png")
    text = compare(BatchImages(images[1:]), FolderImages(tmp_path), Thumbnails(), batch_size=3).text
    assert "Left out of the reference images, 2 in all: '0.png' because" in text and "'a.psd' because" in text
    assert "central square that is compared: 'panorama.png' (88%)." in text
    assert "Left out of the images" not in text


def test_the_picture_shows_the_closest_pair_one_above_the_other():
    ours, theirs = pictures(0, 25) * 0.2, pictures(1, 25) * 0.2
    ours[3], theirs[9] = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 0.02, 0.0])  # red, and nearly as red
    picture = np.asarray(compared(ours, theirs).picture).astype(int)
    red = (picture[..., 0] == 255) & (picture[..., 1] <= 5) & (picture[..., 2] == 0)
    rows, columns = np.nonzero(red)
    assert columns.max() < 170 and rows.max() - rows.min() > 2 * 0.9 * (columns.max() - columns.min())
    below = picture[rows.max() - 3, columns.min() + 3]
    assert tuple(below) == (255, 5, 0)


def test_a_close_pair_is_framed():
    measures = measure(normal(0, 40), normal(1, 40))
    square = Image.new("RGB", (8, 8), "black")

    def frames(distance):
        picture = np.asarray(draw_measures(measures, [Pair(square, square, distance)], "it")).astype(int)
        return int((picture[300:, :160] == (213, 94, 0)).all(-1).sum())

    threshold = measures.memorisation.threshold
    assert frames(threshold * 0.9) > 1000 and frames(threshold * 1.1) == 0


def test_more_pairs_than_there_is_room_for_change_nothing():
    measures, square = measure(normal(0, 40), normal(1, 40)), Image.new("RGB", (8, 8), "black")
    few, many = (draw_measures(measures, [Pair(square, square, 0.5)] * count, "it") for count in (COLUMNS, 3 * COLUMNS))
    assert few.tobytes() == many.tobytes()


def test_a_cancel_passes_through():
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compared(pictures(0, 4), pictures(1, 4), done=stop)
    with pytest.raises(KeyboardInterrupt):
        compared(pictures(0, 4), pictures(1, 4), check=stop)


def test_a_file_name_that_is_no_utf_8_costs_nothing_and_is_read_back(tmp_path):
    name = os.fsdecode(b"k\xfcche.png")
    write_json(tmp_path / "facts.json", {"image": name, "umlaut": "ü"})
    written = (tmp_path / "facts.json").read_text(encoding="utf-8")
    assert json.loads(written) == {"image": name, "umlaut": "ü"} and "ü" in written


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "facts.json"
    write_json(path, {"digit": "drei", "umlaut": "ü", "value": 1.5})
    assert json.loads(path.read_text(encoding="utf-8")) == {"digit": "drei", "umlaut": "ü", "value": 1.5}
    with pytest.raises(ValueError):
        write_json(path, {"value": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["value"] == 1.5 and len(list(path.parent.iterdir())) == 1
