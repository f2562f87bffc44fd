"""The latent cache does not grow for ever: what goes, what stays, and what a trim does beside others."""

import os
import time

import pytest
import torch
from small_cache import entries, filled, folder, picture  # noqa: F401

from domain_guidance.data.cache_limit import trim

DAY = 24 * 3600.0


def aged(path, days):
    os.utime(path, (time.time() - days * DAY,) * 2)


def other_pictures(folder, seeds):
    """Another image set in the same cache."""
    other = folder.parent / "other"
    other.mkdir()
    for seed in seeds:
        picture(seed).save(other / f"{seed}.png")
    return other


def cached_bytes(folder):
    return sum(path.stat().st_size for path in entries(folder))


def test_over_the_limit_the_longest_unused_entries_of_any_vae_go_and_the_log_says_so(folder, caplog):
    filled(folder, vae="b")
    old = entries(folder)
    filled(folder)
    for days, path in enumerate(old, start=3):
        aged(path, days)
    kept, size = old[:2], cached_bytes(folder)
    limit = size - sum(path.stat().st_size for path in old[2:])
    with caplog.at_level("INFO"):
        filled(other_pictures(folder, [50]), limit=limit)
    assert [path for path in old if path.exists()] == kept
    (line,) = [record.getMessage() for record in caplog.records if "Latent cache" in record.message]
    assert (
        "7 entries" in line
        and str(folder.parent / "cache") in line
        and time.strftime("%Y-%m-%d", time.localtime(time.time() - 5 * DAY)) in line
    )
    assert len(filled(folder, lambda pixels: pytest.fail("an entry of the other VAE went"))[0].open()) == 9


def test_what_the_new_training_reads_counts_as_used_and_stays_whatever_the_limit(folder):
    filled(folder)
    for path in entries(folder):
        aged(path, 100)
    filled(folder, lambda pixels: pytest.fail("its own entries were removed"), limit=0)
    assert len(entries(folder)) == 9


def test_what_was_used_within_a_day_stays_and_reading_is_use(folder):
    latents = filled(folder)[0].open()
    for path in entries(folder):
        aged(path, 2)
    latents.read(0)
    filled(other_pictures(folder, [50]), limit=0)
    assert [image.key in {path.name.split("-")[0] for path in entries(folder)} for image in latents.images] == [
        True
    ] + 8 * [False]


def test_within_the_limit_nothing_goes_however_old(folder, caplog):
    filled(folder)
    for path in entries(folder):
        aged(path, 1000)
    with caplog.at_level("INFO"):
        filled(other_pictures(folder, [50]), limit=cached_bytes(folder))
    assert len(entries(folder)) == 10 and not caplog.records


def test_an_entry_that_another_training_loses_is_encoded_again(folder):
    latents = filled(folder)[0].open()
    before = latents.read(0)
    for path in entries(folder):
        aged(path, 2)
    assert trim(folder.parent / "cache", 0).entries == 9
    assert all(torch.equal(one, other) for one, other in zip(latents.read(0), before))


def test_only_one_of_several_ranks_makes_room(folder):
    filled(folder, vae="b")
    for path in entries(folder):
        aged(path, 2)
    filled(folder, rank=1, world=2, limit=0)
    assert len(entries(folder)) == 9 + 4
    filled(folder, rank=0, world=2, limit=0)
    assert len(entries(folder)) == 9


def test_a_trim_beside_another_one_removes_no_more_than_needed(folder, monkeypatch):
    """The other trim has removed the same entries between our listing and our removing."""
    filled(folder)
    for days, path in enumerate(entries(folder), start=3):
        aged(path, days)
    place, (oldest, *_) = folder.parent / "cache", reversed(entries(folder))
    stat, sizes = os.stat, cached_bytes(folder)

    def raced(path, **options):
        if path == str(oldest) and oldest.exists():
            oldest.unlink()
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", raced)
    removed = trim(place, sizes - 1)
    monkeypatch.undo()
    assert removed.entries == 0 and len(entries(folder)) == 8


def test_an_entry_that_is_used_while_a_trim_runs_stays(folder, monkeypatch):
    filled(folder)
    for path in entries(folder):
        aged(path, 3)
    place, wanted, stat = folder.parent / "cache", entries(folder)[4], os.stat

    def used_now(path, **options):
        if path == str(wanted):
            os.utime(wanted)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", used_now)
    trim(place, 0)
    monkeypatch.undo()
    assert entries(folder) == [wanted]


def test_a_trim_looks_at_nothing_but_entries(tmp_path):
    """The user may have pointed the cache at a folder that holds other things."""
    strangers = [
        tmp_path / "model.safetensors",
        tmp_path / "v1" / "images-0.jsonl",
        tmp_path / "loras" / ("a" * 16) / "bb" / "x.safetensors",
        tmp_path / "v1" / ("b" * 16) / "cc" / "notes.txt",
    ]
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
        aged(path, 400)
    assert trim(tmp_path, 0) == (0, 0, 0.0) and all(path.exists() for path in strangers)


def test_a_cache_that_may_only_be_read_is_used_as_it_is(folder, monkeypatch):
    filled(folder)
    for path in entries(folder):
        aged(path, 100)

    def denied(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    for name in ("os.utime", "os.unlink", "os.mkdir"):
        monkeypatch.setattr(name, denied)
    latents = filled(folder, lambda pixels: pytest.fail("the VAE was asked"), limit=0)[0].open()
    assert all(len(latents.read(position)) == 2 for position in range(9))
