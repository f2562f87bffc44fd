"""The command that runs every benchmark: what it keeps, what it goes on after, and the device that it asks for."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import every

SCRIPT = """
import json, sys
from pathlib import Path
words = sys.argv[1:]
if "broken" in sys.argv[0]:
    sys.exit("no")
Path(words[words.index("--json") + 1]).write_text(json.dumps(words))
"""


@pytest.fixture
def run_every(monkeypatch, tmp_path):
    """Runs the command on two benchmarks, of which `broken` fails; answers with its exit code and the results."""
    results = tmp_path / "results"
    results.mkdir()
    for name in ("broken", "sound"):
        (tmp_path / f"{name}.py").write_text(SCRIPT)
    monkeypatch.setattr(every, "FOLDER", tmp_path)
    monkeypatch.setattr(every, "RESULTS", results)
    monkeypatch.setattr(every, "BENCHMARKS", {"broken": (), "sound": ()})
    monkeypatch.setattr(every, "write_page", lambda: None)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["every.py", *words])
        return every.main(), {file.name: json.loads(file.read_text()) for file in results.iterdir()}

    return run


def test_a_benchmark_that_fails_is_named_and_stops_no_other(run_every, capsys):
    code, results = run_every()
    assert code == 1 and set(results) == {"sound.json"}
    assert "without a result: broken\n" in capsys.readouterr().out


def test_a_result_that_lies_there_is_kept_until_it_is_asked_for_anew(run_every, tmp_path):
    kept = tmp_path / "results" / "sound.json"
    kept.write_text('"of yesterday"')
    assert run_every("--only", "sound") == (0, {"sound.json": "of yesterday"})
    code, results = run_every("--only", "sound", "--anew")
    assert code == 0 and results["sound.json"] == ["--json", str(kept)]


def test_a_run_on_the_gpu_fills_files_of_its_own(run_every):
    run_every("--only", "sound")
    _, results = run_every("--only", "sound", "--gpu")
    assert set(results) == {"sound.json", "sound.gpu.json"} and results["sound.gpu.json"][-1] == "--gpu"
