"""The comparison of methods: what each computes, what is measured, which jobs there are, and the tables made of their
results.
"""

import json
from dataclasses import asdict, replace

import pytest
import torch

from domain_guidance.domains.domain_file import read_card
from domain_guidance.evidence import cells, control, editing, jobs, tables, two_domains, worlds
from domain_guidance.evidence.plan import EARLY, FULL, LARGEST, QUICK
from domain_guidance.evidence.results import Results, add_result, open_results, read_results
from domain_guidance.evidence.run import run, trained_file
from domain_guidance.guidance import Projection, SigmaInterval
from domain_guidance.runs.run_log import read_log
from domain_guidance.toy_world import comparison, digits, scenes
from domain_guidance.toy_world.methods import METHODS, contrast, decoupled
from domain_guidance.toy_world.prompts import Prompts, encode

ASKED = Prompts(torch.tensor([3, 8, 1]), torch.tensor([0, 2, 4]), torch.tensor([-1, -1, -1]))
CPU = torch.device("cpu")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def world():
    """The shipped weights, with shipped models as stand-ins for an adapter and for the weak model."""
    shipped = worlds.Workshop(None, FULL, CPU).shipped_world()
    return replace(
        shipped, models={**shipped.models, "adapter": shipped.models["empty-prompt"], "weak": shipped.models["base"]}
    )


@pytest.fixture(scope="module")
def noisy(world):
    return torch.randn(3, 3, 16, 16, generator=seeded(1)) * 3, torch.full((3,), 3.0), encode(ASKED, world.table)


# --- methods ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["base", "fine-tune", "DoG", "decoupled"])
def test_a_method_draws_what_the_demos_method_of_that_name_draws(world, name):
    models, weights = comparison.load_models(), comparison.BEST[name]
    theirs = comparison.sample(models, METHODS[name].build(models, **weights), ASKED, seed=9)
    assert torch.equal(cells.draw(world, METHODS[name].build(world, **weights), ASKED, 9), theirs)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_guides_with_every_weight_of_its_grid(world, noisy, name):
    predictions = [METHODS[name].build(world, **weights)(*noisy) for weights in METHODS[name].grid]
    assert all(prediction.isfinite().all() for prediction in predictions)
    assert len({prediction.sum().item() for prediction in predictions}) == len(METHODS[name].grid)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_asks_for_no_model_that_it_does_not_name(world, noisy, name):
    only = {model: denoiser for model, denoiser in world.models.items() if model in ("base", *METHODS[name].needs)}
    METHODS[name].build(replace(world, models=only), **METHODS[name].grid[0])(*noisy)


def test_every_method_is_chosen_from_as_many_settings():
    assert len({len(method.grid) for method in METHODS.values()}) == 1


def test_autoguidance_compares_two_models_that_read_the_same_prompt(world, noisy):
    strong, weak = (world.models[name](*noisy) for name in ("empty-prompt", "weak"))
    found = METHODS["AutoGuidance"].build(world, cfg=2.5)(*noisy)
    torch.testing.assert_close(found, weak + 2.5 * (strong - weak))


def test_outside_of_its_interval_a_method_is_the_asked_prediction_alone(world, noisy):
    off = contrast(world, 4.0, of="empty-prompt", against="empty-prompt", interval=SigmaInterval(start=2.9))
    assert torch.equal(off(*noisy), world.models["empty-prompt"](*noisy))
    on = contrast(world, 4.0, of="empty-prompt", against="empty-prompt", interval=SigmaInterval(start=3.1))
    assert torch.equal(on(*noisy), contrast(world, 4.0, of="empty-prompt", against="empty-prompt")(*noisy))


def test_projected_guidance_adds_nothing_along_the_asked_prediction(world, noisy):
    asked = world.models["empty-prompt"](*noisy)
    added = METHODS["fine-tune, projected"].build(world, cfg=4.0)(*noisy) - asked
    plain = METHODS["fine-tune"].build(world, cfg=4.0)(*noisy) - asked
    along = [(part * asked).flatten(1).sum(1).abs().max().item() for part in (added, plain)]
    assert along[0] < 1e-3 * along[1]


def test_projecting_nothing_away_is_the_plain_guidance(world, noisy):
    plain = contrast(world, 4.0, of="base", against="base")(*noisy)
    same = contrast(world, 4.0, of="base", against="base", projection=Projection())(*noisy)
    torch.testing.assert_close(same, plain, rtol=1e-4, atol=1e-4)


# --- drawing and measuring -------------------------------------------------------------------------------------------


def test_editing_at_full_strength_forgets_its_picture_and_at_little_strength_keeps_it(world):
    start = editing.sources(3)
    plain = decoupled(world, 1.0, 0.0)
    low = cells.draw(world, plain, start.asked, 4, start.images, strength=0.15)
    assert (low - start.images).square().mean() < 0.02
    full = cells.draw(world, plain, start.asked, 4, start.images, strength=1.0)
    assert (full - start.images).square().mean() > 10 * (low - start.images).square().mean()


def test_copies_of_training_pictures_are_memorised_and_fresh_plates_are_not():
    trained_on = worlds.training_pictures(400, seed=0)
    assert cells.memorised(trained_on[:100] + 0.01, trained_on) == 1.0
    fresh = scenes.paint_domain(digits.load_digits("held_out"), 400, seeded(5)).images
    assert 0.0 < cells.memorised(fresh, trained_on) < 0.12


def test_diversity_is_one_for_real_plates_of_other_handwriting_and_nothing_for_one_picture_repeated():
    asked = comparison.every_prompt(4)
    assert cells.diversity(comparison.held_out_as_asked(asked, seed=77), asked) == pytest.approx(1.0, abs=0.1)
    one = comparison.held_out_as_asked(comparison.every_prompt(1))
    assert cells.diversity(one.repeat(4, 1, 1, 1), asked) == pytest.approx(0.0, abs=1e-6)
    assert cells.diversity(one, comparison.every_prompt(1)) is None


def test_smaller_training_sets_begin_the_larger_ones_and_every_seed_paints_its_own():
    assert torch.equal(worlds.training_pictures(25, 1), worlds.training_pictures(400, 1)[:25])
    assert not torch.equal(worlds.training_pictures(25, 1), worlds.training_pictures(25, 2))


# --- control ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paint", [scenes.paint_open_world, scenes.paint_domain])
def test_a_mask_is_where_the_ink_is_and_the_scene_is_the_one_that_the_seed_paints(paint):
    hand = digits.load_digits("base")
    found = control.inked(paint, hand, 40, seeded(3))
    assert torch.equal(found.scenes.images, paint(hand, 40, seeded(3)).images)
    assert found.masks.unique().tolist() == [0, 1]
    assert 0.05 < found.masks.mean() < 0.35
    full = control.inked(paint, digits.Digits(torch.ones_like(hand.ink), hand.labels), 40, seeded(3)).masks
    assert (full.mean((1, 2, 3)) > 0.3).all() and (full >= found.masks).float().mean() > 0.999


def test_every_mask_shows_the_digit_that_its_prompt_asks_for():
    asked = comparison.every_prompt(1)
    masks = control.asked_masks(asked)
    reference = {
        number: digits.load_digits("base").take(digits.load_digits("base").labels == number).ink.mean(0)
        for number in range(10)
    }
    shown = torch.nn.functional.interpolate(masks[:, :, 3:13, 3:13], 8, mode="area")[:, 0]
    likeness = torch.stack(
        [((shown - shown.mean()) * (ink - ink.mean())).sum((1, 2)) / ink.std() for ink in reference.values()], dim=1
    )
    assert (likeness.argmax(1) == asked.digit).float().mean() > 0.6


def test_what_is_kept_is_all_of_a_picture_of_two_colours_and_nothing_of_unrelated_noise():
    masks = (torch.rand(50, 1, 16, 16, generator=seeded()) < 0.3).float()
    red, blue = (torch.tensor(colour).view(1, 3, 1, 1) for colour in ((0.9, -0.9, -0.9), (-0.8, -0.5, 0.9)))
    assert control.kept(masks * red + (1 - masks) * blue, masks) == pytest.approx(1.0, abs=1e-4)
    assert control.kept(torch.rand(50, 3, 16, 16, generator=seeded(1)), masks) < 0.03


def test_an_untrained_control_network_changes_no_prediction(world, noisy):
    x, sigma, prompt = noisy
    answers = control.ControlNetwork()(torch.ones(3, 1, 16, 16))
    for name in ("base", "text-free"):
        with torch.no_grad():
            assert torch.equal(
                world.seeing(answers).models[name](x, sigma, prompt), world.models[name](x, sigma, prompt)
            )


def test_a_trained_control_network_comes_back_from_its_file_and_acts_on_every_model(world, noisy, tmp_path):
    file, masks = tmp_path / "control.safetensors", torch.ones(3, 1, 16, 16)
    control.train_control(file, steps=3, device=CPU)
    ones, zeros = (control.control_answers(file, shown, CPU) for shown in (masks, 0 * masks))
    for name in world.models:
        predictions = [world.seeing(answers).models[name](*noisy) for answers in (ones, zeros)]
        assert not torch.equal(*predictions)


# --- two domains -----------------------------------------------------------------------------------------------------


def test_the_halves_masks_share_every_pixel_between_two_domains():
    halves = two_domains.half_masks()
    assert torch.equal(halves["left"] + halves["right"], torch.ones(16, 16))
    assert (halves["left"][:, :6] == 1).all() and (halves["right"][:, 10:] == 1).all()


def test_two_domains_by_halves_are_each_domain_alone_in_its_own_half(world, noisy):
    models = {"base": world.models["base"], "plates": world.models["text-free"], "notes": world.models["empty-prompt"]}
    both = replace(world, models=models)
    halves = two_domains.half_masks()
    composed = two_domains.composed(both, 3.0, 1.5, {"plates": halves["left"], "notes": halves["right"]})(*noisy)
    plates, notes = (two_domains.composed(both, 3.0, 1.5, {name: None})(*noisy) for name in ("plates", "notes"))
    torch.testing.assert_close(composed[..., :6], plates[..., :6])
    torch.testing.assert_close(composed[..., 10:], notes[..., 10:])
    torch.testing.assert_close(plates, decoupled(world, 3.0, 1.5)(*noisy))
    torch.testing.assert_close(notes, decoupled(world, 3.0, 1.5, domain="empty-prompt")(*noisy))


def test_plates_and_notes_are_told_apart_in_either_half():
    notes = two_domains.paint_notes(digits.load_digits("base"), 60, seeded(2)).images
    plates = scenes.paint_domain(digits.load_digits("base"), 60, seeded(2)).images
    assert set(two_domains.plates_in_halves(plates).values()) == {1.0}
    assert set(two_domains.plates_in_halves(notes).values()) == {0.0}
    mixed = torch.cat([plates[..., :8], notes[..., 8:]], dim=3)
    assert two_domains.plates_in_halves(mixed) == {"left": 1.0, "right": 0.0}


# --- jobs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [QUICK, FULL])
def test_every_job_has_a_name_of_its_own_and_comes_after_what_it_needs(plan):
    table = jobs.all_jobs(plan)
    keys = [job.key for job in table]
    assert len(set(keys)) == len(keys)
    for place, job in enumerate(table):
        assert set(job.needs) <= set(keys[:place])


@pytest.mark.parametrize("plan", [QUICK, FULL])
def test_every_method_is_searched_once_a_size_and_measured_with_every_seed(plan):
    keys = {job.key for job in jobs.all_jobs(plan)}
    for method in set(METHODS) - {"base"}:
        for size in plan.sizes:
            assert f"search/{size}/{method}" in keys
            assert all(f"measure/{size}/{seed}/{method}" in keys for seed in plan.seeds)


def test_early_stopping_is_tried_with_few_pictures_and_reads_the_trainings_that_were_stopped():
    table = {job.key: job for job in jobs.all_jobs(FULL)}
    job = table[f"measure/25/3/decoupled, adapter{EARLY}"]
    assert set(job.needs) == {f"train/adapter{EARLY}/25/3", "search/base", f"search/25/decoupled, adapter{EARLY}"}
    assert not [key for key in table if EARLY in key and "/25" not in key]
    assert not [job.key for job in jobs.all_jobs(QUICK) if EARLY in job.key]


def test_weights_are_searched_with_other_noise_and_in_full_with_another_training_than_they_are_measured():
    assert FULL.searched not in FULL.seeds
    for plan in (QUICK, FULL):
        assert jobs.SEARCH_NOISE not in [jobs.NOISE + seed for seed in plan.seeds]


def some_jobs(done):
    """Three jobs that note when they are run: a training, a search that reads it, and one that needs nothing."""

    def noting(key):
        return lambda bench: done.append(key) or {"value": 0.5}

    return [
        jobs.Job("train/x/25/0", (), noting("train")),
        jobs.Job("search/x", ("train/x/25/0",), noting("search")),
        jobs.Job("else", (), noting("else")),
    ]


def test_only_what_is_missing_is_done_and_a_training_only_for_a_job_that_waits():
    table, empty = some_jobs([]), Results({}, [], {})
    assert [job.key for job in jobs.waiting(table, empty, lambda key: False)] == ["train/x/25/0", "search/x", "else"]
    assert [job.key for job in jobs.waiting(table, empty, lambda key: True)] == ["search/x", "else"]
    searched = Results({}, [], {"search/x": {}})
    assert [job.key for job in jobs.waiting(table, searched, lambda key: False)] == ["else"]


def test_an_interrupted_run_goes_on_after_its_last_finished_job(tmp_path, monkeypatch):
    done, workshop, file = [], worlds.Workshop(tmp_path, QUICK, CPU), tmp_path / "results.json"
    table = some_jobs(done)
    whole, table[2] = table[2], replace(table[2], run=lambda bench: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr("domain_guidance.evidence.run.all_jobs", lambda plan: table)
    with pytest.raises(KeyboardInterrupt):
        run(workshop, file, {"machine": "one"})
    assert list(read_results(file).jobs) == ["train/x/25/0", "search/x"]
    table[2] = whole
    results = run(workshop, file, {"machine": "another"})
    assert done == ["train", "search", "else"]
    assert results.machines == [{"machine": "one"}, {"machine": "another"}]
    assert [entry["machine"] for entry in read_results(file).jobs.values()] == [0, 0, 1]


def test_several_workers_find_what_one_finds(tmp_path, monkeypatch):
    plan = replace(QUICK, sizes=(25,), steps=2, sampling=2, repeats=1)
    few = {
        "train/empty-prompt/25/0",
        "train/text-free/25/0",
        "search/base",
        "search/25/fine-tune",
        "search/25/DoG",
        "search/25/decoupled",
        "measure/real",
    }
    monkeypatch.setattr(
        "domain_guidance.evidence.run.all_jobs", lambda plan: [job for job in jobs.all_jobs(plan) if job.key in few]
    )
    found = [
        run(worlds.Workshop(tmp_path / str(workers), plan, CPU), tmp_path / f"{workers}.json", {}, workers).jobs
        for workers in (1, 2)
    ]
    found = [{key: {**entry, "seconds": 0} for key, entry in entries.items()} for entries in found]
    assert set(found[0]) == few and found[0] == found[1]


def test_results_of_another_plan_are_refused(tmp_path):
    file = tmp_path / "results.json"
    add_result(file, open_results(file, QUICK), "a", {"value": 1 / 3}, 1.0, {"machine": "one"})
    assert json.loads(file.read_text())["jobs"]["a"]["value"] == 0.333333
    with pytest.raises(ValueError, match="holds results of another plan, .*: give another file, or delete this one"):
        open_results(file, FULL)


def test_the_file_of_every_training_is_known_by_its_key(tmp_path):
    workshop = worlds.Workshop(tmp_path, FULL, CPU)
    files = [trained_file(workshop, job.key) for job in jobs.all_jobs(FULL) if job.trains]
    assert len(set(files)) == len(files) and workshop.file("weak", 25, 3) in files
    assert workshop.file("notes", LARGEST, 2) in files and jobs.Bench(workshop, None).control in files


def test_a_domain_is_trained_by_the_users_command_and_read_back_as_a_world(tmp_path, monkeypatch):
    monkeypatch.setattr(worlds, "LARGEST", 12)
    workshop = worlds.Workshop(tmp_path, replace(QUICK, steps=10), CPU)
    x, sigma = torch.randn(1, 3, 16, 16, generator=seeded()), torch.tensor([2.0])
    for name, form, steps in (("text-free", "text-free", 10), ("weak", "empty-prompt", 1)):
        workshop.train(name, 12, 0)
        training = read_card(workshop.file(name, 12, 0)).training
        assert (training["form"], training["steps"]) == (form, steps)
    world = workshop.world(("text-free", "weak"), 12, 0)
    base, text_free, weak = (world.models[name](x, sigma, world.empty) for name in ("base", "text-free", "weak"))
    assert not torch.equal(base, text_free) and not torch.equal(base, weak) and not torch.equal(text_free, weak)


def test_a_training_that_is_stopped_early_is_known_by_its_best_file(tmp_path, monkeypatch):
    monkeypatch.setattr(worlds, "LARGEST", 12)
    monkeypatch.setattr(worlds, "EVALUATE_EVERY", 5)
    workshop, name = worlds.Workshop(tmp_path, replace(QUICK, steps=10), CPU), f"text-free{EARLY}"
    said = jobs._train(jobs.Bench(workshop, None), name, 12, 0)
    lines = read_log(tmp_path / "domains" / f"{name}-12-0.training" / "log.jsonl")
    losses = {line["step"]: line["held_out"] for line in lines if line["event"] == "evaluated"}
    assert set(losses) == {0, 5, 10} and said == {"trained_steps": min((5, 10), key=losses.get)}
    early = workshop.world((name,), 12, 0).models["text-free"].unet.state_dict()
    best = worlds.unet_of_file(tmp_path / "domains" / f"{name}-12-0.best.safetensors").state_dict()
    assert all(torch.equal(early[key], best[key]) for key in best)


def test_a_training_that_was_interrupted_after_its_first_best_file_is_not_taken_for_done(tmp_path):
    workshop, name = worlds.Workshop(tmp_path, QUICK, CPU), f"text-free{EARLY}"
    last = trained_file(workshop, f"train/{name}/25/1")
    assert workshop.file(name, 25, 1) != last == workshop.last_file(name, 25, 1)
    assert workshop.file("text-free", 25, 1) == workshop.last_file("text-free", 25, 1)


# --- weights and tables ----------------------------------------------------------------------------------------------


def row(digit, distance, **weights):
    return {"weights": weights, **asdict(cells.Cell(digit, 1.0, distance, None, None, 50))}


def test_a_methods_weights_are_the_best_inside_the_domain_by_the_bases_distance():
    grids = {
        "search/base": {"grid": [row(0.9, 0.4, cfg=2.0), row(1.0, 0.5, cfg=4.0)]},
        "search/25/DoG": {"grid": [row(0.7, 0.03, cfg=2.0), row(0.8, 0.039, cfg=3.0), row(0.95, 0.041, cfg=4.0)]},
    }
    results = Results({}, [], grids)
    assert results.chosen("base", 25) == {"cfg": 4.0}
    assert results.chosen("DoG", 25) == {"cfg": 3.0}


def test_several_seeds_are_written_as_mean_and_standard_deviation():
    assert tables.spread([0.9], tables.percent) == "90 %"
    assert tables.spread([0.8, 0.9, 1.0], tables.percent) == "90 % ± 10 %"


def test_a_block_is_put_between_its_marks_and_nowhere_else():
    page = "before\n<!-- begin a -->\nold\n<!-- end a -->\nafter"
    assert tables.fill(page, {"a": "new"}) == page.replace("old", "new")
    assert tables.fill(tables.fill(page, {"a": "new"}), {"a": "old"}) == page
    with pytest.raises(ValueError, match="no place for 'b': put '<!-- begin b -->' and '<!-- end b -->' on two lines"):
        tables.fill(page, {"b": "new"})


def test_commits_of_one_machine_are_named_after_it():
    machines = [
        {"machine": "one", "commit": "a"},
        {"machine": "another", "commit": ""},
        {"machine": "one", "commit": "b"},
    ]
    assert "(one, commits a, b; another)." in tables.about(Results(json.loads(json.dumps(asdict(QUICK))), machines, {}))


def test_a_table_whose_jobs_are_not_done_is_left_out():
    jobs_done = {"measure/shipped/" + name: {**row(0.5, 0.1, cfg=1.0), "seconds": 60.0} for name in comparison.BEST}
    found = tables.all_tables(Results(json.loads(json.dumps(asdict(QUICK))), [{"machine": "a machine"}], jobs_done))
    assert set(found) == {"about", "shipped"}
    count = len(comparison.BEST)  # each took a minute
    assert "N = 100" in found["about"] and f"{count} minutes (a machine)" in found["about"]
    assert found["shipped"].count("50 %") == count
