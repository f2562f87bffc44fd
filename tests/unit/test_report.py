"""The report's measures against closed forms, and advice that does what it says when it is followed."""

import math

import pytest
import torch
from PIL import Image

from domain_guidance.guidance import Projection, Term
from domain_guidance.pictures.axes_grid import LARGEST, axes_grid, mosaic
from domain_guidance.pictures.line_plot import COLOURS, Curve, Plot, draw_plot
from domain_guidance.report import Measured, Step, TermMeasure, advise, describe, draw_report, measure, spread
from domain_guidance.report.advice import BAND, PULL, TARGET, Overall
from domain_guidance.report.report_picture import ACROSS, WIDTH
from nodes.number_lists import parse_numbers


def vectors(*values):
    """A batch [B, C, 1, 1] of plain vectors."""
    return torch.tensor(values, dtype=torch.float32)[..., None, None]


def test_lengths_and_cosine_of_vectors_that_one_can_draw():
    """A text of (3, 4) at cfg 1 and a domain that points down the first axis: 5, 2 * 2, and -3/5."""
    reference = vectors([1.0, 1.0])
    measured = measure(
        reference + vectors([3.0, 4.0]), [Term(reference + vectors([-2.0, 0.0]), reference, 2.0)], cfg=1.0
    )
    assert measured.text == pytest.approx(5.0)
    assert measured.terms[0].unit == pytest.approx(2.0) and measured.terms[0].norm == pytest.approx(4.0)
    assert measured.terms[0].cosine == pytest.approx(-0.6)
    assert measured.terms[0].share == pytest.approx(2.0 / math.sqrt(2))
    assert measured.coefficient == pytest.approx(-2.0)


def test_a_negative_weight_turns_the_cosine_and_not_the_length():
    reference = vectors([1.0, 1.0])
    measured = measure(
        reference + vectors([3.0, 4.0]), [Term(reference + vectors([2.0, 0.0]), reference, -1.5)], cfg=4.0
    )
    assert measured.terms[0].cosine == pytest.approx(-0.6) and measured.terms[0].norm == pytest.approx(3.0)
    assert measured.coefficient == pytest.approx(1 - 4 + 1.5)


def test_a_batch_is_the_mean_of_its_pictures():
    reference, text, pull = torch.zeros(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    reference += 1
    both = measure(reference + text, [Term(reference + pull, reference, 2.0)], 3.0)
    each = [
        measure((reference + text)[[n]], [Term((reference + pull)[[n]], reference[[n]], 2.0)], 3.0) for n in range(2)
    ]
    for read in (lambda m: m.text, lambda m: m.terms[0].norm, lambda m: m.terms[0].cosine, lambda m: m.contrast):
        assert read(both) == pytest.approx(sum(map(read, each)) / 2)


def test_mask_and_projection_are_measured_as_they_act():
    reference, mask = vectors([0.0, 1.0]), vectors([1.0, 0.0])
    capped = Term(reference + vectors([30.0, 40.0]), reference, 2.0, mask, Projection(norm_cap=5.0))
    assert measure(reference + vectors([1.0, 0.0]), [capped], 1.0).terms[0].norm == pytest.approx(2 * 3.0)


def test_the_text_is_measured_against_the_prediction_that_most_terms_subtract():
    empty, other = vectors([0.0, 1.0]), vectors([5.0, 5.0])
    terms = [Term(other, vectors([9.0, 9.0]), 1.0), Term(other, empty, 1.0), Term(other + 1, empty, 1.0)]
    assert measure(empty + vectors([0.0, 2.0]), terms, 1.0).text == pytest.approx(2.0)


def test_contrast_is_one_where_guidance_picks_a_source_and_the_factor_where_it_extrapolates():
    reference = torch.zeros(1, 1, 2, 2) + 1e-9
    prompted = torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]]])
    domain = 0.5 * prompted
    assert measure(prompted, [Term(prompted, reference, 0.0)], 1.0).contrast == pytest.approx(1.0)
    assert measure(
        6 * prompted, [Term(domain, reference, 4.0), Term(prompted, reference, 0.0)], 6.0
    ).contrast == pytest.approx(8.0)


def test_a_prompt_that_adds_nothing_counts_no_cfg():
    """Unconditional sampling: what the guider gives is the empty prompt's prediction at any cfg."""
    reference = torch.randn(1, 3, 4, 4)
    assert measure(reference * (1 + 1e-7), [Term(reference + 1, reference, 2.0)], 7.0).coefficient == pytest.approx(
        -1.0
    )


def test_spread_of_unit_noise_is_one_and_grows_with_the_latents():
    noise = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    assert spread(noise) == pytest.approx(1.0, abs=0.02)
    assert spread(3 * noise + 5) == pytest.approx(3 * spread(noise), rel=1e-5)


def sampled(
    weights=(1.5,), cfg=4.0, text=10.0, unit=10.0, cosine=0.0, share=0.1, contrast=2.0, count=10, acts=lambda step: True
):
    """Steps whose terms follow the model that the advice assumes: lengths in proportion to cfg and weights.

    text: length per cfg; unit: length per weight; either a number, or a function of the step counted from 1.
    """

    def at(value, step):
        return value(step) if callable(value) else value

    def measured(step):
        now = [weight if acts(step) else 0.0 for weight in weights]
        terms = tuple(TermMeasure(weight, at(unit, step), at(cosine, step), share) for weight in now)
        return Measured(cfg * at(text, step), 1 - cfg - sum(now), contrast, terms)

    return [Step(step, (step - 1) / count, measured(step)) for step in range(1, count + 1)]


def kinds(steps, weights, cfg):
    return [advice.kind for advice in advise(steps, weights, cfg)]


def test_a_balanced_setting_is_left_alone():
    assert kinds(sampled(weights=(1.5,), cfg=2.0, unit=20.0, text=10.0), (1.5,), 2.0) == ["fine"]


@pytest.mark.parametrize(
    ("weight", "cfg", "unit", "kind"),
    [(0.1, 4.0, 10.0, "weak"), (8.0, 1.5, 10.0, "strong"), (3.0, 1.0, 20.0, "strong"), (-0.1, 4.0, 10.0, "weak")],
)
def test_following_the_advice_on_balance_ends_at_the_target(weight, cfg, unit, kind):
    """The sampling that follows the advised numbers, by the same model, has the ratio aimed at and gets no further
    advice.
    """
    advice = advise(sampled((weight,), cfg, unit=unit), (weight,), cfg)[0]
    assert advice.kind == kind and math.copysign(1, advice.weights[0]) == math.copysign(1, weight)
    new_cfg = cfg if advice.cfg is None else advice.cfg
    after = sampled(advice.weights, new_cfg, unit=unit)
    assert Overall.of(after).ratio == pytest.approx(TARGET, rel=0.05)  # numbers are advised to two digits
    assert kinds(after, advice.weights, new_cfg) == ["fine"]
    assert f"{advice.weights[0]:g}" in advice.text and (advice.cfg is None or f"cfg {advice.cfg:g}" in advice.text)


@pytest.mark.parametrize("weights", [(6.0,), (4.0, 2.0)])
def test_following_the_advice_on_burn_keeps_the_papers_pull_and_the_terms_proportions(weights):
    advice = advise(sampled(weights, 8.0, unit=8.0, contrast=6.0), weights, 8.0)[0]
    assert advice.kind == "burn"
    assert advice.cfg + sum(advice.weights) == pytest.approx(PULL, rel=0.03)
    assert Overall.of(sampled(advice.weights, advice.cfg, unit=8.0)).ratio == pytest.approx(TARGET, rel=0.05)
    assert [a / advice.weights[0] for a in advice.weights] == pytest.approx([w / weights[0] for w in weights], rel=0.05)


def test_a_large_coefficient_without_grown_contrast_is_no_burn():
    assert "burn" not in kinds(sampled((3.0,), 8.0, unit=40.0, contrast=2.0), (3.0,), 8.0)


def test_a_weak_domain_beside_a_large_cfg_is_not_advised_to_burn():
    advice = advise(sampled((0.1,), 7.0), (0.1,), 7.0)[0]
    assert advice.kind == "weak" and advice.cfg + advice.weights[0] == pytest.approx(PULL, rel=0.03)


def test_burn_of_a_few_step_model_lowers_the_weight_alone():
    advice = advise(sampled((9.0,), 1.0, unit=10.0, contrast=6.0), (9.0,), 1.0)[0]
    assert (advice.kind, advice.cfg, advice.weights) == ("burn", None, (4.0,))


@pytest.mark.parametrize(("late", "field"), [(True, "end_percent"), (False, "start_percent")])
def test_a_domain_that_is_strong_at_one_end_may_be_left_out_there(late, field):
    """Ten steps: in four of them at one end the term is ten times as long.

    The range leaves out no more than it must.
    """

    def unit(step):
        return 100.0 if (step > 6) == late and (step > 6 or step < 5) else 10.0

    steps = sampled((2.0,), 2.5, unit=unit)
    advice = advise(steps, (2.0,), 2.5)[0]
    cut = getattr(advice, field)
    assert advice.kind == "strong" and f"{field} {cut:g}" in advice.text
    kept = [step for step in steps if (step.percent <= cut if late else step.percent >= cut)]
    wider = [step for step in steps if (step.percent <= cut + 0.1 if late else step.percent >= cut - 0.1)]
    assert Overall.of(kept).ratio <= BAND[1] < Overall.of(wider).ratio
    assert "in steps 7–10" in advice.text if late else "in steps 1–4" in advice.text


def test_the_ratio_is_that_of_the_steps_in_which_the_domain_acts():
    assert Overall.of(sampled((2.0,), 4.0, acts=lambda step: step <= 3)).ratio == pytest.approx(0.5)


def test_a_domain_that_is_too_strong_everywhere_has_no_range():
    advice = advise(sampled((6.0,), 1.5, unit=30.0), (6.0,), 1.5)[0]
    assert (
        advice.kind == "strong" and advice.start_percent is advice.end_percent is None and "percent" not in advice.text
    )


def test_direction_is_said_after_balance():
    assert kinds(sampled(cosine=-0.6), (1.5,), 4.0) == ["weak", "against"]
    assert kinds(sampled((1.5,), 2.0, unit=20.0, cosine=0.7), (1.5,), 2.0) == ["twice"]


def test_opposition_among_short_terms_does_not_count():
    """Terms fade towards the end, where opposite directions are usual."""
    steps = sampled(
        (1.5,), 2.0, text=lambda s: 10.0 / s, unit=lambda s: 20.0 / s, cosine=lambda s: -0.9 if s > 4 else 0.0
    )
    assert kinds(steps, (1.5,), 2.0) == ["fine"]


def test_an_untrained_and_an_idle_domain_are_named():
    assert kinds(sampled(share=1e-5), (1.5,), 4.0) == ["untrained"]
    assert kinds(sampled(acts=lambda step: False), (1.5,), 4.0) == ["idle"]
    assert kinds([], (1.5,), 4.0) == ["idle"]
    assert kinds([], (), 4.0) == ["unguided"]


def test_one_silent_term_of_two_is_named_and_the_other_is_advised_on():
    steps = [
        Step(
            s.number,
            s.percent,
            Measured(
                s.measured.text,
                s.measured.coefficient,
                s.measured.contrast,
                (s.measured.terms[0], TermMeasure(1.0, 0.0, 0.0, 0.0)),
            ),
        )
        for s in sampled((0.1,))
    ]
    found = advise(steps, (0.1, 1.0), 4.0)
    assert [advice.kind for advice in found] == ["untrained", "weak"] and found[0].text.startswith("Term 2")


def test_unconditional_sampling_has_no_text_to_compare_with():
    assert kinds(sampled(text=0.0), (1.5,), 4.0) == ["unprompted"]


def test_all_advice_is_a_sentence_or_two_of_few_words():
    runs = [
        (sampled((6.0,), 8.0, contrast=6.0, cosine=-0.6), (6.0,), 8.0),
        (sampled((0.1,)), (0.1,), 4.0),
        (sampled((9.0,), 1.5), (9.0,), 1.5),
        (sampled(text=0.0), (1.5,), 4.0),
        (sampled(share=0.0), (1.5,), 4.0),
        ([], (1.0,), 4.0),
        (sampled((1.5,), 2.0, unit=20.0), (1.5,), 2.0),
    ]
    for advice in (advice for run in runs for advice in advise(*run)):
        assert advice.text.endswith(".") and len(advice.text.split()) <= 40 and "\n" not in advice.text


def test_the_words_carry_every_step_and_term():
    steps = sampled((1.5, 0.5), count=7)
    text = describe(steps, advise(steps, (1.5, 0.5), 4.0), "Result: as it should be.")
    table = text.splitlines()[-14:]
    assert text.startswith("1. ") and "Result: as it should be." in text
    assert [line.split()[0] for line in table[::2]] == list("1234567")
    assert table[0].split()[2:5] == ["40.00", "15.00", "0.38"] and table[1].split()[:1] == ["5.00"]


def test_numbers_are_read_as_people_write_them():
    assert parse_numbers(" 0, 1;1.5\n2 -3", "weights", -20, 20) == [0.0, 1.0, 1.5, 2.0, -3.0]
    assert list(map(str, parse_numbers("1, -0, 1e0,", "weights", -20, 20))) == ["1.0", "0.0", "1.0"]


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("0; 1,5; 3", [0, 1.5, 3]),
        ("0;1,5;3", [0, 1.5, 3]),
        ("0 -1,5 3", [0, -1.5, 3]),
        ("0\n1,5\n3\n", [0, 1.5, 3]),
        ("0,1,5,3", [0, 1, 5, 3]),
        ("0, 1,5, 3", [0, 1, 5, 3]),
        ("0, 1, 1.5", [0, 1, 1.5]),
        ("0 , 1 , 1.5 ,", [0, 1, 1.5]),
        ("1,5", [1, 5]),
        ("1,5;", [1.5]),
    ],
)
def test_a_comma_is_a_decimal_one_where_semicolons_or_spaces_separate(text, numbers):
    assert parse_numbers(text, "weights", -20, 20) == numbers


@pytest.mark.parametrize("text", ["", " , ;", "1, two", "nan", "inf", "-21", "1,,x", "0,1,2; 3", "1.5; 2,5", "0;,5;1"])
def test_a_bad_list_is_refused_in_one_sentence_with_its_name(text):
    with pytest.raises(ValueError, match="list of weights .*[.]$") as caught:
        parse_numbers(text, "weights", -20, 20)
    assert "\n" not in str(caught.value)


def colour(number):
    return (20 * number, 255 - 20 * number, 77)


def test_each_cell_lies_under_its_column_and_beside_its_row():
    cells = [[Image.new("RGB", (16, 16), colour(3 * row + column)) for column in range(3)] for row in range(2)]
    grid = axes_grid(cells, ["0", "1.5", "3"], ["2", "7.5"], "domain weight", "cfg")
    left, top = grid.width - 3 * 150, grid.height - 2 * 150
    for row in range(2):
        for column in range(3):
            box = (left + 150 * column, top + 150 * row, left + 150 * column + 144, top + 150 * row + 144)
            assert grid.crop(box).getcolors() == [(144 * 144, colour(3 * row + column))]


def test_a_cell_that_was_not_made_is_empty_and_says_so():
    grid = axes_grid([[Image.new("RGB", (16, 16), colour(1)), None]], ["0", "1"], ["2"], "domain weight", "cfg")
    colours = {
        found
        for _, found in grid.crop((grid.width - 150, grid.height - 150, grid.width - 6, grid.height - 6)).getcolors(
            10**6
        )
    }
    assert colour(1) not in colours and len(colours) > 2


@pytest.mark.parametrize(
    ("size", "columns", "rows"), [((1024, 1024), 16, 16), ((2048, 512), 3, 1), ((16, 16), 64, 4), ((512, 3000), 2, 9)]
)
def test_a_large_grid_stays_within_its_bound_and_keeps_the_pictures_shape(size, columns, rows):
    picture = Image.new("RGB", size, colour(2))
    grid = axes_grid(
        [[picture] * columns] * rows,
        [str(n) for n in range(columns)],
        [str(n) for n in range(rows)],
        "domain weight",
        "cfg",
    )
    assert max(grid.size) <= LARGEST
    shown = grid.crop((grid.width // 2, 0, grid.width, grid.height)).load()
    assert any(shown[x, grid.height - 10] == colour(2) for x in range(grid.width // 2))


def test_a_batch_is_shown_side_by_side_and_one_picture_as_it_is():
    pictures = [Image.new("RGB", (8, 8), colour(number)) for number in range(5)]
    sheet = mosaic(pictures)
    assert sheet.size == (3 * 9 - 1, 2 * 9 - 1)
    assert sheet.getpixel((9, 9)) == colour(4) and sheet.getpixel((2 * 9, 0)) == colour(2)
    assert mosaic(pictures[:1]).tobytes() == pictures[0].tobytes()


def test_a_curve_runs_from_its_first_value_to_its_last_between_the_axes_labels():
    """A rising line: its marks are found left below and right above, in its own colour."""
    canvas = draw_plot(Plot("title", "unit", [Curve([1, 2, 3], [0.0, 5.0, 10.0], 1)], 0.0, 1.0), "step", 420, 270)
    found = [(x, y) for x in range(420) for y in range(270) if canvas.getpixel((x, y)) == COLOURS[1]]
    assert min(found)[1] > 200 and max(found)[1] < 60
    assert min(found)[0] < 80 and max(found)[0] > 380


def test_a_gap_is_not_bridged():
    canvas = draw_plot(
        Plot("title", "unit", [Curve([1, 2, 3, 4, 5], [1.0, 1.0, math.nan, 1.0, 1.0], 2)], 0.0, 2.0), "step", 420, 270
    )
    middle = [canvas.getpixel((x, y)) for x in range(220, 250) for y in range(270)]
    assert COLOURS[2] not in middle


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_a_report_is_drawn_for_any_number_of_steps_and_terms_with_and_without_a_picture(count):
    steps = sampled((6.0, -1.0, 0.0), 8.0, contrast=6.0, count=count)
    advice = advise(steps, (6.0, -1.0, 0.0), 8.0)
    bare, shown = (
        draw_report(steps, advice, "weight 6"),
        draw_report(steps, advice, "weight 6", Image.new("RGB", (512, 768), colour(9))),
    )
    assert bare.width == shown.width == ACROSS * WIDTH
    assert colour(9) in {found for _, found in shown.getcolors(10**6)} - {found for _, found in bare.getcolors(10**6)}


def test_domains_that_share_the_picture_are_not_added_up():
    reference, left = torch.randn(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    left[..., :2] = 1
    terms = [Term(reference + 1, reference, 3.0, left), Term(reference + 2, reference, 2.0, 1 - left)]
    assert measure(reference * 2, terms, 4.0).coefficient == pytest.approx(1 - 4 - 3)


@pytest.mark.parametrize("order", [1, -1])
def test_a_contrast_of_two_prompts_neither_sets_the_text_term_nor_counts_as_the_unconditional(order):
    empty, minus = vectors([1.0, 0.0]), vectors([0.0, 7.0])
    terms = [Term(empty + vectors([0.0, 1.0]), empty, 2.0), Term(minus + vectors([1.0, 1.0]), minus, 5.0)][::order]
    measured = measure(empty + vectors([3.0, 4.0]), terms, 4.0, [True, False][::order])
    assert measured.text == pytest.approx(5.0)
    assert measured.coefficient == pytest.approx(1 - 4 - 2)


def test_contrasts_alone_leave_the_unconditional_to_cfg():
    minus = vectors([0.0, 7.0])
    assert measure(
        minus + vectors([3.0, 4.0]), [Term(minus + 1, minus, 5.0)], 4.0, [False]
    ).coefficient == pytest.approx(1 - 4)
