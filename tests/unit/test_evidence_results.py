"""The committed results: pages are made of them and of nothing else, cells can be drawn again, and claims follow from the numbers."""

import sys
import time
from pathlib import Path

import pytest
import torch

from domain_guidance import demo
from domain_guidance.toy_world.evidence import jobs, worlds
from domain_guidance.toy_world.evidence.methods import METHODS
from domain_guidance.toy_world.evidence.plan import PLANS, QUICK
from domain_guidance.toy_world.evidence.results import open_results, read_results
from domain_guidance.toy_world.evidence.tables import all_tables

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
COMMITTED = sorted(RESULTS.glob("toy_world_*.json"))


@pytest.fixture(scope="module")
def page():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import page

        yield page
        sys.modules.pop("page")


@pytest.fixture(scope="module")
def result_file():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import result_file

        yield result_file
        sys.modules.pop("result_file")


@pytest.fixture(scope="module")
def quick():
    return read_results(RESULTS / "toy_world_quick.json")


# --- the pages -------------------------------------------------------------------------------------------------------


def test_the_page_of_benchmarks_is_made_of_the_committed_files(page):
    assert (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8") == page.page(page.read_runs(RESULTS))


def test_the_tables_of_the_evidence_page_are_made_of_the_committed_results(page):
    written = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    assert page.evidence(written) == written
    for file in COMMITTED:
        plan = file.stem.removeprefix("toy_world_")
        tables = {name: table for name, table in all_tables(read_results(file)).items() if (plan, name) != ("quick", "sizes")}  # of one size
        assert len(tables) > 4 and all(f"<!-- begin {plan} {name} -->\n{table}\n<!--" in written for name, table in tables.items())


def test_every_benchmark_has_its_section_and_every_ratio_its_row(page):
    runs = page.read_runs(RESULTS)
    scripts = {file.stem for file in (ROOT / "benchmarks").glob("*.py") if "add_json_option(parser)" in file.read_text(encoding="utf-8")}
    assert scripts - {"result_file"} <= set(page.BENCHMARKS) and set(runs) <= set(page.BENCHMARKS)
    text = page.page(runs)
    for benchmark, (title, _) in page.BENCHMARKS.items():
        section = text.split(f"## {title}\n")[1].split("\n## ")[0]
        ratios = {what for run in runs.get(benchmark, {}).values() for what in run["ratios"]}
        assert ratios == {line.split(" | ")[0].removeprefix("| ") for line in section.splitlines() if line.startswith("| ")} - {"", "---", "|"}


def test_figures_of_a_gpu_have_a_column_of_their_own_with_its_name(page):
    cpu = {"benchmark": "guidance", "command": "c", "gpu": False, "machine": "a CPU", "commit": "", "minutes": 1.0, "ratios": {"time": 1.5, "memory": 1.25}}
    gpu = {**cpu, "gpu": True, "machine": "a GPU of a kind", "ratios": {"time": 1.43}}
    text = page.page({"guidance": {False: cpu, True: gpu}})
    assert "| | CPU | a GPU of a kind |" in text
    assert "| time | 1.500 | 1.430 |" in text and "| memory | 1.250 |  |" in text


def test_a_benchmarks_file_is_what_the_page_reads(page, result_file, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["somewhere/guidance.py", "--steps", "8", "--json", "a file", "--rounds=3", "--json=a file"])
    result_file.save(None, "guidance", {"time": 1.0}, started=time.monotonic())
    result_file.save(tmp_path / "guidance.json", "guidance", {"time": 1.23456}, started=time.monotonic() - 150)
    run = page.read_runs(tmp_path)["guidance"][False]
    assert (run["ratios"], run["minutes"], run["command"]) == ({"time": 1.235}, 2.5, "python benchmarks/guidance.py --steps 8 --rounds=3")
    text = page.page({"guidance": {False: run}})
    assert "| time | 1.235 |  |" in text
    assert f"`{run['command']}`: 2.5 minutes on {run['machine']}" in text


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.name)
def test_a_results_file_says_what_it_was_measured_on_and_names_no_folder(file):
    text = file.read_text(encoding="utf-8")
    assert '"machine' in text and '"commit"' in text
    assert "/home" not in text and "/tmp" not in text and "/work" not in text


def test_the_demo_shows_the_quick_runs_table(quick):
    assert all_tables(quick)["methods"] in demo.measured_before()


# --- the results -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_the_committed_results_are_of_a_plan_as_it_is_now_and_every_job_is_done(file):
    plan = PLANS[file.stem.removeprefix("toy_world_")]
    results = open_results(file, plan)
    assert {job.key for job in jobs.all_jobs(plan) if not job.trains} - set(results.jobs) == set()


@pytest.mark.parametrize("method", ["base", "DoG", "decoupled"])
def test_a_cell_of_the_shipped_models_is_found_again_from_scratch(quick, method):
    bench = jobs.Bench(worlds.Workshop(None, QUICK, torch.device("cpu")), quick)
    again = next(job for job in jobs.all_jobs(QUICK) if job.key == f"measure/shipped/{method}").run(bench)
    committed = quick.jobs[f"measure/shipped/{method}"]
    assert again["weights"] == committed["weights"] and again["count"] == committed["count"]
    # Another machine's arithmetic may tip a picture or two.
    assert again["digit"] == pytest.approx(committed["digit"], abs=0.04) and again["colour"] == pytest.approx(committed["colour"], abs=0.04)
    assert again["distance"] == pytest.approx(committed["distance"], abs=0.01)


def test_every_method_is_measured_at_the_weights_that_its_search_chose(quick):
    for method in METHODS:
        key, size = ("measure/base", 0) if method == "base" else (f"measure/1200/0/{method}", 1200)
        assert quick.jobs[key]["weights"] == quick.chosen(method, size)


# --- the claims of docs/evidence.md: each test is one of its sentences ---------------------------------------------------

DECOUPLED = ("decoupled", "decoupled, empty prompt", "decoupled, adapter")


def cell(results, method):
    return results.jobs["measure/base" if method == "base" else f"measure/1200/0/{method}"]


@pytest.mark.parametrize("rival", ["fine-tune", "DoG", "AutoGuidance"])
def test_decoupled_guidance_draws_more_digits_nearer_to_the_domain_than(quick, rival):
    for method in DECOUPLED:
        assert cell(quick, method)["digit"] > cell(quick, rival)["digit"]
        assert cell(quick, method)["distance"] < cell(quick, rival)["distance"]


def test_its_lead_over_the_fine_tune_is_two_standard_errors_and_that_over_the_lora_is_within_them(quick):
    def errors_apart(method, rival):
        one, other = cell(quick, method), cell(quick, rival)
        variance = sum(found["digit"] * (1 - found["digit"]) / found["count"] for found in (one, other))
        return (one["digit"] - other["digit"]) / variance**0.5

    assert errors_apart("decoupled", "fine-tune") == pytest.approx(2.3, abs=0.05)
    for rival in ("LoRA", "fine-tune, interval", *DECOUPLED[1:]):
        assert abs(errors_apart("decoupled", rival)) < 2
    assert max(cell(quick, method)["distance"] for method in DECOUPLED) < min(cell(quick, rival)["distance"] for rival in ("LoRA", "fine-tune, interval"))


def test_the_base_draws_digits_best_and_is_outside_of_the_domain(quick):
    assert cell(quick, "base")["digit"] >= max(cell(quick, method)["digit"] for method in METHODS)
    assert cell(quick, "base")["distance"] > 2 * max(cell(quick, method)["distance"] for method in METHODS if method != "base")


def test_interval_and_projection_take_decoupled_guidance_out_of_the_domain_and_projection_makes_pictures_alike(quick):
    for variant in ("decoupled, interval", "decoupled, projected"):
        assert cell(quick, variant)["distance"] > 0.1
    assert cell(quick, "decoupled, projected")["diversity"] < 0.6 < 0.9 < cell(quick, "decoupled")["diversity"]


def test_no_method_memorised_1200_pictures(quick):
    assert max(cell(quick, method)["memorised"] for method in METHODS if method != "base") <= 0.01


def test_every_method_follows_a_mask_that_only_the_base_was_trained_for(quick):
    kept = {method: [quick.jobs[f"control/0/{method}/{sight}"]["kept"] for sight in ("seen", "unseen")] for method in ("base", "fine-tune", "DoG", "decoupled")}
    assert all(1.9 < seen / unseen < 2.3 for seen, unseen in kept.values())
    shares = [round(100 * kept[method][0] / kept["base"][0]) for method in ("decoupled", "DoG", "fine-tune")]
    assert shares == [99, 95, 91]


def test_no_method_of_editing_keeps_most_and_is_nearest_to_the_domain(quick):
    for strength in (0.5, 0.65, 0.8):
        found = {method: quick.jobs[f"editing/0/{method}/{strength}"] for method in ("fine-tune", "DoG", "decoupled")}
        keeps = max(found, key=lambda method: found[method]["kept"])
        nearest = min(found, key=lambda method: found[method]["distance"])
        assert keeps != nearest


def test_two_domains_share_every_picture_and_the_digit_is_read_as_on_plates_alone(quick):
    halves, plates = quick.jobs["two/0/halves"], quick.jobs["two/0/plates"]
    assert (halves["left plates"], halves["right plates"]) == (1.0, 0.0)
    assert halves["digit"] == plates["digit"]
