"""The latent cache: what it keeps, what it does not do twice, and what it does with damage."""

import json
import os
import shutil
import sys
import time

import pytest
import torch
from mapped import is_mapped, needs_maps
from PIL import Image
from safetensors.torch import load_file
from small_cache import CELL, Counted, encode, entries, filled, folder, make, picture  # noqa: F401

from domain_guidance.data import BatchImages, Encoded, FolderImages, LatentCacheError, Size, Skipped, aspect_buckets
from domain_guidance.data import latent_cache as latent_cache_module
from domain_guidance.data.buckets import fit_to_bucket
from domain_guidance.data.image_facts import ImageFacts, Unusable, Usable
from domain_guidance.data.latent_store import DamagedEntry, LatentStore, Posterior
from domain_guidance.files.atomic_file import PART_LIFETIME


def expected(image):
    """What the VAE says of an image and of its mirror, computed without the cache."""
    with torch.no_grad():
        sides = [encode(pixels[None]) for pixels in (image, image.flip(-1))]
    return [Posterior(mean[0].half(), logvar[0].half()) for mean, logvar in sides]


def close(actual, wanted):
    for one, other in zip(actual, wanted):
        assert one.dtype == torch.float16
        torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)


def test_the_posteriors_of_every_image_and_of_its_mirror_are_kept(folder):
    cache, events = filled(folder)
    latents, source = cache.open(), FolderImages(folder)
    assert len(latents) == 9 and events[-1].done == events[-1].total == 9
    for position, image in enumerate(latents.images):
        assert image.name == source.name(position) and image.bucket == (
            Size(24, 12) if "sub" in image.name else Size(16, 16)
        )
        whole, mirror = expected(fit_to_bucket(source.load(position), image.bucket))
        close(latents.read(position), whole)
        close(latents.read(position, mirrored=True), mirror)
        assert not torch.allclose(whole.mean.flip(-1), mirror.mean, atol=0.05), "the oracle itself must tell them apart"


def test_the_commonest_size_is_that_of_most_images_and_of_two_the_larger_whatever_their_names(folder):
    assert filled(folder)[0].open().commonest_bucket == Size(16, 16)
    for name in "345":
        (folder / f"{name}.png").unlink()
    assert filled(folder)[0].open().commonest_bucket == Size(24, 12)
    (folder / "sub").rename(folder / "!")
    assert filled(folder)[0].open().commonest_bucket == Size(24, 12)


def test_batches_hold_one_size_and_no_more_images_than_asked_for(folder):
    counted = Counted()
    _, events = filled(folder, counted, batch_size=2)
    assert counted.images == 2 * 9, "every image and its mirror, once"
    assert all(shape[0] <= 2 and shape[2:] in ((16, 16), (12, 24)) for shape in counted.batches)
    steps = [event.done for event in events if isinstance(event, Encoded)]
    assert steps[0] == 0 and steps == sorted(steps) and steps[-1] == 9


def test_no_more_than_sixteen_images_wait_for_their_bucket_to_fill(tmp_path):
    waiting, most = [0], [0]

    class Source(BatchImages):
        def load(self, index):
            waiting[0] += 1
            most[0] = max(most[0], waiting[0])
            return super().load(index)[:, :, : 16 + 8 * (index % 5)]

    def one_batch(pixels):
        waiting[0] -= len(pixels) / 2  # images come twice, the second time mirrored
        return encode(pixels)

    source = Source(torch.rand(60, 16, 48, 3))
    cache, _ = filled(source, one_batch, batch_size=12, cache=tmp_path, bucket_of=lambda size: size)
    assert most[0] == latent_cache_module.WAITING and waiting[0] == 0 and len(cache.open()) == 60


def test_the_bytes_written_and_the_bytes_per_image_are_those_on_disk(folder):
    cache, events = filled(folder)
    on_disk = sum(path.stat().st_size for path in entries(folder))
    assert events[-1].bytes == on_disk and len(entries(folder)) == 9
    assert cache.open().bytes_per_image == pytest.approx(on_disk / 9, rel=0.01)
    assert cache.open().bytes_per_image > 2 * 2 * (2 * 4 * 4) * 2, "two sides, mean and log-variance, 2 bytes a value"


def test_a_second_run_encodes_nothing_and_opens_no_image(folder, monkeypatch):
    first = filled(folder)[0].open()
    monkeypatch.setattr(FolderImages, "load", lambda *args: pytest.fail("an image was loaded"))
    monkeypatch.setattr(FolderImages, "content_key", lambda *args: pytest.fail("an image was hashed"))
    cache, events = filled(folder, lambda pixels: pytest.fail("the VAE was asked"))
    assert events == [Encoded(9, 9, 0)]
    assert cache.open().images == first.images and cache.open().fingerprint == first.fingerprint


def test_the_second_start_with_2000_images_lists_each_folder_twice_and_opens_one_file(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2000):
        Image.new("RGB", (8, 8), (number % 256, number // 256, 0)).save(images / f"{number}.bmp")
    small = {"cache": tmp_path / "cache", "bucket_of": lambda size: Size(8, 8)}
    filled(FolderImages(images), batch_size=16, **small)

    opened, listed, watching = [], [], [True]

    def hook(event, arguments):
        if watching[0] and event in ("open", "os.scandir", "os.listdir"):
            (opened if event == "open" else listed).append(str(arguments[0]))

    sys.addaudithook(hook)
    try:
        cache, events = filled(FolderImages(images), lambda pixels: pytest.fail("the VAE was asked"), **small)
        latents = cache.open()
    finally:
        watching[0] = False  # a hook cannot be taken away
    assert events == [Encoded(2000, 2000, 0)] and len(latents) == 2000
    assert [path for path in opened if str(tmp_path) in path] == 2 * [str(tmp_path / "cache" / "v1" / "images-0.jsonl")]
    assert len([path for path in listed if str(tmp_path) in path]) <= 2 * (1 + 256) + 8


def test_a_renamed_image_is_read_once_to_be_known_and_not_encoded_again(folder, monkeypatch):
    filled(folder)
    (folder / "0.png").rename(folder / "sub" / "renamed.png")
    shutil.move(folder, folder.parent / "elsewhere")
    monkeypatch.setattr(FolderImages, "load", lambda *args: pytest.fail("pixels were read"))
    cache, events = filled(folder.parent / "elsewhere", lambda pixels: pytest.fail("the VAE was asked"))
    assert events[-1] == Encoded(9, 9, 0)
    assert "sub/renamed.png" in [image.name for image in cache.open().images]


def test_a_changed_image_is_encoded_again_and_a_touched_one_is_not(folder):
    before = filled(folder)[0].open()
    os.utime(folder / "1.png", ns=(1, 1))
    counted = Counted()
    picture(100).save(folder / "0.png")
    latents = filled(folder, counted)[0].open()
    assert counted.images == 2
    assert latents.images[0].key != before.images[0].key and latents.images[1:] == before.images[1:]
    assert latents.fingerprint != before.fingerprint
    close(latents.read(0), expected(FolderImages(folder).load(0))[0])


@pytest.mark.parametrize("change", [{"vae": "b"}, {"bucket_of": aspect_buckets(24, step=8)}])
def test_another_vae_or_another_size_has_entries_of_its_own_and_leaves_the_others(folder, change):
    old = filled(folder)[0].open()
    kept = [path.read_bytes() for path in entries(folder)]
    counted = Counted(lambda pixels: tuple(2 * part for part in encode(pixels)))
    new = filled(folder, counted, **change)[0].open()
    assert counted.images == 2 * 9 and len(entries(folder)) == 18
    assert sum(path.read_bytes() in kept for path in entries(folder)) == 9
    close(old.read(0), expected(FolderImages(folder).load(0))[0])
    assert not torch.equal(old.read(0).mean, new.read(0).mean)
    assert filled(folder, lambda pixels: pytest.fail("the VAE was asked"))[1] == [Encoded(9, 9, 0)]


def test_copies_of_one_image_share_one_entry(folder):
    shutil.copy(folder / "0.png", folder / "copy.png")
    counted = Counted()
    latents = filled(folder, counted, batch_size=1)[0].open()
    assert len(latents) == 10 and len(entries(folder)) == 9 and counted.images == 2 * 9


def test_a_vae_without_a_posterior_is_kept_as_its_mean(folder):
    latents = filled(folder, lambda pixels: (encode(pixels)[0], None))[0].open()
    assert latents.read(0).logvar is None and latents.read(0, mirrored=True).mean.shape == (2, 4, 4)


def test_a_batch_in_memory_is_cached_by_its_content(tmp_path):
    batch = torch.rand(5, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    options = {"cache": tmp_path, "batch_size": 3}
    latents = filled(BatchImages(batch), **options)[0].open()
    close(latents.read(4), expected(batch[4].permute(2, 0, 1) * 2 - 1)[0])
    _, events = filled(BatchImages(batch.flip(0)), lambda pixels: pytest.fail("the VAE was asked"), **options)
    assert events == [Encoded(5, 5, 0)]


def break_images(folder):
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:60])
    (folder / "1.png").write_text("no picture")
    picture(50, 3, 40).save(folder / "2.png")


def test_a_broken_image_is_named_with_its_reason_and_the_rest_is_used(folder):
    break_images(folder)
    cache, events = filled(folder)
    latents = cache.open()
    skipped = [event for event in events if isinstance(event, Skipped)]
    assert sorted(skip.name for skip in skipped) == ["0.png", "1.png", "2.png"]
    reasons = {skip.name: skip.reason for skip in skipped}
    assert "damaged" in reasons["0.png"] and "not a JPEG" in reasons["1.png"]
    assert "smaller (3x40) than one latent cell (4x4 pixels)" in reasons["2.png"]
    assert sorted(latents.skipped, key=lambda skip: skip.name) == sorted(skipped, key=lambda skip: skip.name)
    assert len(latents) == 6 and events[-1].done == events[-1].total == 9
    assert latents.report.startswith("6 images used, ") and "3 skipped: '0.png' because" in latents.report
    assert latents.report.count("because") == 3


def test_what_a_folder_has_beside_images_is_in_the_report(folder):
    (folder / "notes.txt").write_text("no image")
    (folder / "linked").symlink_to(folder.parent)
    cache, _ = filled(folder)
    report = cache.open().report
    assert report.startswith("9 images used, ") and "2 skipped: " in report
    assert "'notes.txt' because" in report and "'linked' because" in report


def test_what_an_older_reader_gave_up_on_is_looked_at_again(folder):
    source = FolderImages(folder)
    (folder.parent / "cache" / "v1").mkdir(parents=True)
    line = {"stamp": source.stamp(0), "reason": "it is damaged (text too large)", "try_again": False}
    (folder.parent / "cache" / "v1" / "images-0.jsonl").write_text(json.dumps(line) + "\n")
    latents = filled(folder)[0].open()
    assert len(latents) == 9 and latents.skipped == ()


def test_a_picture_that_loses_much_to_the_crop_is_named_with_the_share_and_the_others_are_not(folder):
    picture(70, 400, 40).save(folder / "panorama.png")
    picture(71, 30, 40).save(folder / "portrait.png")
    latents = filled(folder)[0].open()
    assert [(one.name, one.extent) for one in latents.remarks] == [("panorama.png", "80%")]
    assert "More than 30% of a picture is cropped away" in latents.report
    assert latents.report.endswith("to use all of it: 'panorama.png' (80%).")


def test_an_animation_is_named_in_every_run(folder):
    picture(72).save(folder / "film.png", save_all=True, append_images=[picture(73)])
    for _ in range(2):
        assert filled(folder)[0].open().report.endswith("Only the first picture of an animation is used: 'film.png'.")


def test_a_broken_image_is_named_in_every_run_but_read_again_only_when_it_changes(folder, monkeypatch):
    break_images(folder)
    first = [event for event in filled(folder)[1] if isinstance(event, Skipped)]
    with monkeypatch.context() as patch:
        patch.setattr(FolderImages, "content_key", lambda *args: pytest.fail("an image was read"))
        second = [event for event in filled(folder)[1] if isinstance(event, Skipped)]
    assert sorted(first, key=str) == sorted(second, key=str)
    picture(51).save(folder / "1.png")
    assert len(filled(folder)[0].open()) == 7


def test_an_image_that_could_not_be_opened_is_tried_again(folder, monkeypatch):
    (folder / "lost.png").symlink_to(folder.parent / "far.png")
    cache, events = filled(folder)
    assert [event.name for event in events if isinstance(event, Skipped)] == ["lost.png"]
    assert "cannot be read (No such file or directory)" in cache.open().skipped[0].reason
    real = FolderImages.stamp
    picture(60).save(folder.parent / "far.png")

    def unchanged(self, index):
        return f"{self.files[index].path}|-1|-1" if self.name(index) == "lost.png" else real(self, index)

    monkeypatch.setattr(FolderImages, "stamp", unchanged)
    assert len(filled(folder)[0].open()) == 10, "though its stamp says that nothing has changed"


def test_too_few_usable_images_are_an_error_that_names_the_first_fault(folder):
    for path in sorted(folder.rglob("*.*"))[1:]:
        path.write_text("no picture")
    cache, _ = filled(folder)
    with pytest.raises(
        LatentCacheError,
        match="1 of 9 images can be used .* needs at least 2: .*'1.png'.*, each because it is not a JPEG",
    ):
        cache.open()
    assert len(cache.open(minimum=1)) == 1


def test_opening_a_cache_that_was_not_filled_is_refused(folder):
    with pytest.raises(LatentCacheError, match="'0.png' is not in the latent cache yet"):
        make(folder).open()


def test_nothing_is_done_between_two_events_of_an_abandoned_run(folder):
    counted = Counted()
    events = make(folder, counted).fill(batch_size=2)
    assert next(events) == Encoded(0, 9, 0) and counted.images == 0
    assert next(events).done == 2 and counted.images == 4
    events.close()
    assert counted.images == 4 and len(entries(folder)) == 2
    rest = Counted()
    events = list(make(folder, rest).fill(batch_size=2))
    assert events[0] == Encoded(2, 9, 0) and rest.images == 14


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_work_and_see_the_same_images(folder, world):
    break_images(folder)
    alone = filled(folder, cache="alone")[0].open()
    counts = [Counted() for _ in range(world)]
    caches = [filled(folder, counts[rank], rank=rank, world=world)[0] for rank in range(world)]
    assert sum(count.images for count in counts) == 12 and min(count.images for count in counts) > 0
    for cache in caches:
        latents = cache.open()
        assert (
            latents.images == alone.images
            and latents.fingerprint == alone.fingerprint
            and latents.skipped == alone.skipped
        )
    for position in range(len(alone)):
        close(caches[0].open().read(position, True), alone.read(position, True))
    _, events = filled(folder, lambda pixels: pytest.fail("the VAE was asked"))
    assert events[-1] == Encoded(9, 9, 0), "one rank alone goes on where several have been"


def test_a_rank_beyond_the_world_is_refused(folder):
    with pytest.raises(ValueError, match="ranks run from 0 to 1"):
        make(folder, rank=2, world=2)


def test_a_damaged_entry_is_encoded_again_where_it_is_read(folder, caplog):
    counted = Counted()
    cache, _ = filled(folder, counted)
    latents, before = cache.open(), counted.images
    good = {path: path.read_bytes() for path in entries(folder)}
    for number, (path, data) in enumerate(good.items()):
        damages = [data[: len(data) // 2], b"", data[:-3] + bytes(3 * [data[-1] ^ 1]), None]
        damage = damages[number % 4]
        path.unlink() if damage is None else path.write_bytes(damage)
    for position, image in enumerate(latents.images):
        pixels = fit_to_bucket(FolderImages(folder).load(position), image.bucket)
        for mirrored in (True, False):
            close(latents.read(position, mirrored), expected(pixels)[mirrored])
    assert counted.images - before == 2 * 9 and len(caplog.records) == 9
    assert {path: path.read_bytes() for path in entries(folder)}.keys() == good.keys()
    assert [load_file(path).keys() for path in good] == 9 * [
        {"image.mean", "image.logvar", "mirror.mean", "mirror.logvar"}
    ]


@needs_maps
def test_what_is_read_does_not_hold_on_to_its_entry(folder):
    latents = filled(folder)[0].open()
    read = [latents.read(position) for position in range(len(latents))]
    assert len(read) == 9 and not any(map(is_mapped, entries(folder)))


def test_what_is_encoded_again_in_a_step_of_half_precision_is_as_precise_as_before(folder):
    latents = filled(folder)[0].open()
    before = [latents.read(position).mean for position in range(len(latents))]
    for path in entries(folder):
        path.unlink()
    with torch.autocast("cpu", torch.bfloat16):
        after = [latents.read(position).mean for position in range(len(latents))]
    for one, other in zip(after, before):
        torch.testing.assert_close(one, other, atol=5e-4, rtol=1e-3)  # the last bit of fp16


def test_a_damaged_entry_whose_image_is_gone_or_changed_is_said(folder):
    latents = filled(folder)[0].open()
    for path in entries(folder):
        path.write_bytes(b"")
    (folder / "0.png").unlink()
    picture(70).save(folder / "1.png")
    with pytest.raises(LatentCacheError, match="'0.png' are damaged .* cannot be read .*; start the training again"):
        latents.read(0)
    with pytest.raises(LatentCacheError, match="'1.png' are damaged .* it has changed meanwhile"):
        latents.read(1)


def test_every_flipped_bit_of_an_entry_is_noticed_or_harmless(tmp_path):
    store = LatentStore(tmp_path, "vae")
    generator = torch.Generator().manual_seed(0)
    image, mirror = (Posterior(*torch.randn(2, 1, 2, 2, generator=generator).half()) for _ in range(2))
    size = store.write("ab", Size(8, 8), image, mirror)
    path = next(tmp_path.rglob("*.safetensors"))
    whole, noticed = path.read_bytes(), 0
    assert size == len(whole) == store.size("ab", Size(8, 8))
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        for mirrored, wanted in ((False, image), (True, mirror)):
            try:
                assert all(
                    torch.equal(one, other) for one, other in zip(store.read("ab", Size(8, 8), mirrored), wanted)
                )
            except DamagedEntry:
                noticed += 1
    assert noticed > len(whole)


def test_a_half_written_entry_is_never_visible(tmp_path, monkeypatch):
    store, moments = LatentStore(tmp_path, "vae"), []

    def halting(path, data):
        """A write that stops in the middle and lets the world look."""
        with open(path, "wb") as file:
            for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                file.write(part)
                file.flush()
                moments.append(store.names())
                with pytest.raises(DamagedEntry):
                    store.read("ab", Size(8, 8), mirrored=False)

    monkeypatch.setattr("pathlib.Path.write_bytes", halting)
    posterior = Posterior(torch.ones(1, 2, 3), None)
    store.write("ab", Size(8, 8), posterior, posterior)
    assert moments == [set(), set()] and store.names() == {"ab-8x8.safetensors"}


@pytest.mark.parametrize("was, now", [(b'"F16"', b'"I16"'), (b"[1,2,3]", b"[3,2,1]")])
def test_another_type_or_shape_over_the_same_bytes_is_noticed(tmp_path, was, now):
    store = LatentStore(tmp_path, "vae")
    posterior = Posterior(torch.ones(1, 2, 3), None)
    store.write("ab", Size(8, 8), posterior, posterior)
    path = next(tmp_path.rglob("*.safetensors"))
    assert was in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(was, now))
    with pytest.raises(DamagedEntry, match="does not match its checksum"):
        store.read("ab", Size(8, 8), mirrored=False)


def test_an_image_of_exactly_one_latent_cell_is_used(folder):
    picture(80, CELL, CELL).save(folder / "cell.png")
    assert "cell.png" in [image.name for image in filled(folder)[0].open().images]


def test_a_vae_that_gives_nan_is_said_and_nothing_of_it_is_kept(folder):
    with pytest.raises(ValueError, match="VAE's latent of '0.png' holds NaN.*run the VAE in fp32"):
        filled(folder, lambda pixels: (encode(pixels)[0] * torch.nan, None))
    with pytest.raises(ValueError, match="values beyond fp16"):
        filled(folder, lambda pixels: (encode(pixels)[0] + 1e5, None))
    assert entries(folder) == []


def test_a_full_disk_is_said_and_what_was_written_stays(folder, monkeypatch):
    real, written = os.replace, []

    def full(part, path):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        real(part, path)

    monkeypatch.setattr("domain_guidance.files.atomic_file.os.replace", full)
    with pytest.raises(LatentCacheError, match="cache' cannot be written .No space left on device.: free some space"):
        filled(folder, batch_size=2)
    assert len(entries(folder)) == 3 and not list(folder.parent.rglob("*.part"))
    monkeypatch.undo()
    counted = Counted()
    assert len(filled(folder, counted)[0].open()) == 9 and counted.images == 12


def test_a_cache_that_cannot_be_made_is_said(folder):
    (folder.parent / "cache").write_text("a file where the folder should be")
    with pytest.raises(LatentCacheError, match="cannot be written"):
        filled(folder)


def test_a_complete_cache_is_used_without_writing(folder, monkeypatch):
    filled(folder)
    monkeypatch.setattr("pathlib.Path.mkdir", lambda *args, **kwargs: pytest.fail("something was to be written"))
    assert len(filled(folder)[0].open().read(0)) == 2


def test_what_a_killed_process_left_is_swept_and_what_a_live_one_writes_is_not(folder):
    filled(folder)
    place = entries(folder)[0].parent
    old, young = place / ".old.part", place / ".young.part"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * PART_LIFETIME,) * 2)
    filled(folder)
    assert not old.exists() and young.exists()


def test_facts_survive_a_torn_and_a_damaged_line(tmp_path):
    facts = ImageFacts(tmp_path)
    facts.add("a", Usable("1f", Size(3, 4)))
    facts.add("b", Unusable("it is broken \udcff", False))
    path = tmp_path / "images-0.jsonl"
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        torn = ImageFacts(tmp_path)
        assert torn.of_stamp("a") in (None, Usable("1f", Size(3, 4)))
        torn.add("c", Usable("2f", Size(1, 2)))
        assert ImageFacts(tmp_path).of_stamp("c") == ImageFacts(tmp_path).of_key("2f") == Usable("2f", Size(1, 2))
    for line in (b"[1]\n", b"7\n", b"null\n", b'{"stamp": "a", "key": "x", "size": 5}\n', b"\xff\xfe\n"):
        path.write_bytes(line + whole)
        assert ImageFacts(tmp_path).of_stamp("a") == Usable("1f", Size(3, 4))
    assert ImageFacts(tmp_path).of_stamp("b") == Unusable("it is broken \udcff", False)


def test_an_unchanged_fact_is_not_written_twice_and_a_usable_one_wins_between_ranks(tmp_path):
    usable, unusable = Usable("1f", Size(3, 4)), Unusable("it cannot be read", True)
    for rank, fact in enumerate([unusable, usable, unusable]):
        facts = ImageFacts(tmp_path / f"{rank}", rank)
        for _ in range(2):
            facts.add("a", fact)
        written = tmp_path / f"{rank}" / f"images-{rank}.jsonl"
        assert len(written.read_text().strip().splitlines()) == 1
        written.rename(tmp_path / written.name)
    assert ImageFacts(tmp_path).of_stamp("a") == usable
    ImageFacts(tmp_path, 1).add("a", unusable)
    lines = (tmp_path / "images-1.jsonl").read_text().strip().splitlines()
    assert len([line for line in lines if line]) == 2, "within one file the later line wins, and was written once"
