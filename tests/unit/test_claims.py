"""Two processes on one folder: nothing is overwritten, and a killed one blocks nobody."""

import errno
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_training as tiny

from domain_guidance.evaluation import write_json
from domain_guidance.files import claim
from domain_guidance.files.atomic_file import replacing
from domain_guidance.files.claim import Claim
from domain_guidance.runs import RunFiles
from domain_guidance.runs.run_files import RunFileError, RunIsBusy

ROOT = Path(__file__).parents[2]

# Claims a run, says its name, and holds it until a line comes in.
HOLDER = """
import sys
from domain_guidance.runs import RunFiles
with RunFiles.claim(sys.argv[1], sys.argv[2], sys.argv[3]) as files:
    print(files.name, flush=True)
    word = sys.stdin.readline().strip()
    if word == "write":
        files.result.write_bytes(b"of " + sys.argv[3].encode())
"""


@contextmanager
def holder(folder, name="cats", on_existing="new version"):
    """Another process that holds a run, and its name."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder, name, on_existing],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def names(folder, name="cats", on_existing="new version"):
    with RunFiles.claim(folder, name, on_existing) as files:
        return files.name


def test_a_second_process_gets_a_name_of_its_own_and_both_results_stay(tmp_path):
    with holder(tmp_path) as (first, one), holder(tmp_path) as (second, other):
        assert (one, other) == ("cats", "cats-2")
        for process in (first, second):
            process.communicate("write\n")
    assert {path.name for path in tmp_path.iterdir()} == {"cats.safetensors", "cats-2.safetensors"}


def test_who_asks_to_resume_what_another_process_trains_is_told_so_in_a_sentence(tmp_path):
    with holder(tmp_path, on_existing="resume") as (_, name):
        assert name == "cats"
        with pytest.raises(RunIsBusy, match="^The run 'cats' in '.*' is in use by another process") as said:
            names(tmp_path, on_existing="resume")
        assert str(said.value).count(". ") == 0
    assert names(tmp_path, on_existing="resume") == "cats"


def test_a_run_that_another_process_goes_on_with_is_neither_resumed_nor_trained_directly(tmp_path):
    tiny.run_tiny(tmp_path, name="cats", steps=1)
    state = RunFiles(tmp_path, "cats").state.read_bytes()
    with holder(tmp_path, on_existing="resume") as (_, name):
        assert name == "cats"
        with pytest.raises(RunIsBusy):
            names(tmp_path, on_existing="resume")
        with pytest.raises(RunIsBusy):
            tiny.run_tiny(tmp_path, name="cats", steps=2)
        assert names(tmp_path) == "cats-2"
    assert RunFiles(tmp_path, "cats").state.read_bytes() == state
    tiny.run_tiny(tmp_path, name="cats", steps=2)


def test_a_killed_process_blocks_nobody_and_leaves_the_name_free(tmp_path):
    with holder(tmp_path) as (process, _):
        process.kill()
        process.wait()
        assert os.listdir(tmp_path / "cats.training") == [".lock"]
        assert names(tmp_path) == "cats"
    assert not list(tmp_path.iterdir())


def test_a_claim_leaves_nothing_behind_and_keeps_what_the_run_made(tmp_path):
    assert names(tmp_path) == "cats" and not list(tmp_path.iterdir())
    with RunFiles.claim(tmp_path, "cats", "resume") as files:
        files.log.write_text("{}")
    assert [path.name for path in files.run_folder.iterdir()] == ["log.jsonl"]


def test_a_name_that_another_place_has_is_not_free_but_a_run_of_it_goes_on(tmp_path):
    def elsewhere(version):
        return version in ("cats", "cats-2")

    with RunFiles.claim(tmp_path, "cats", "new version", elsewhere) as files:
        assert files.name == "cats-3"
    (tmp_path / "cats.training").mkdir()
    with RunFiles.claim(tmp_path, "cats", "resume", elsewhere) as files:
        assert files.name == "cats"


def test_the_best_file_of_another_run_is_not_written_over(tmp_path):
    (tmp_path / "cats.best.safetensors").write_bytes(b"somebody's own")
    assert names(tmp_path) == "cats-2"
    with RunFiles.claim(tmp_path, "cats", "resume") as files:
        assert files.name == "cats-2"


def test_an_error_inside_of_a_claim_is_the_callers(tmp_path):
    with pytest.raises(RunIsBusy, match="mine"), RunFiles.claim(tmp_path, "cats", "new version"):
        raise RunIsBusy("mine")
    assert names(tmp_path) == "cats"


def test_a_folder_that_cannot_be_written_is_said_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFileError, match="cannot be written to"), RunFiles.claim(tmp_path / "file", "cats", "resume"):
        pass


def test_where_the_file_system_has_no_locks_the_claim_is_granted_and_that_is_said(tmp_path, monkeypatch, caplog):
    def no_locks(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claim, "_lock", no_locks)
    assert names(tmp_path) == "cats"
    assert "has no locks" in caplog.text


def test_a_lock_whose_file_was_removed_while_it_was_waited_for_is_taken_anew(tmp_path, monkeypatch):
    path, real = tmp_path / "folder" / ".lock", claim._lock

    def removed_first(file):
        if not asked:
            path.unlink()
        asked.append(file)
        real(file)

    asked = []
    monkeypatch.setattr(claim, "_lock", removed_first)
    mine = Claim(path)
    assert mine.take() and len(asked) == 2 and path.exists()
    mine.release()
    assert not path.parent.exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_file_for_a_free_name_never_replaces_one(tmp_path, monkeypatch, links):
    def unsupported(*paths):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", unsupported)
    write_json(tmp_path / "a.json", {"mine": 1}, free=True)
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "a.json", {"other": 2}, free=True)
    assert json.loads((tmp_path / "a.json").read_text()) == {"mine": 1}
    assert os.listdir(tmp_path) == ["a.json"]
    with replacing(tmp_path / "b", free=True) as part:
        part.write_text("whole")
    assert (tmp_path / "b").read_text() == "whole"
