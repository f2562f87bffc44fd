"""The order of batches, the held-out split and the loader, as properties over many steps."""

import math
from collections import Counter

import pytest
import torch

from domain_guidance.data import BatchImages, BatchOrder, LatentCache, LatentLoader, Size, held_out_batches, split

SHAPES = [
    ((12,), 4),
    ((10,), 4),
    ((1,), 3),
    ((3,), 8),
    ((7, 5, 1), 4),
    ((100, 3, 17), 6),
    ((1, 1, 1, 1), 2),
    ((64, 64), 1),
    ((5, 40), 32),
]


def visits(order, steps):
    return [order.visit(step) for step in range(steps)]


def steps_of_epochs(order, epochs):
    """By counting, not by the formula of the code under test."""
    step = 0
    while order.epoch(step) < epochs:
        step += 1
    return step


@pytest.mark.parametrize("sizes, batch", SHAPES)
def test_a_step_is_a_pure_function_of_its_number(sizes, batch):
    order = BatchOrder(sizes, batch, seed=3)
    forward = visits(order, 40)
    assert [BatchOrder(sizes, batch, seed=3).visit(step) for step in reversed(range(40))][::-1] == forward


@pytest.mark.parametrize("sizes, batch", SHAPES)
def test_a_visit_has_one_bucket_and_a_whole_batch_of_its_images(sizes, batch):
    for visit in visits(BatchOrder(sizes, batch), 60):
        assert len(visit.places) == len(visit.mirrored) == batch
        assert all(0 <= place < sizes[visit.bucket] for place in visit.places)


@pytest.mark.parametrize("sizes, batch", SHAPES)
def test_at_the_end_of_every_epoch_the_images_of_a_bucket_were_seen_equally_often(sizes, batch):
    order, seen = BatchOrder(sizes, batch, seed=1), [Counter() for _ in sizes]
    step, epochs = 0, max(6, 3 * batch)
    for epoch in range(1, epochs + 1):
        while order.epoch(step) < epoch:
            visit = order.visit(step)
            seen[visit.bucket].update(visit.places)
            step += 1
        for size, counts in zip(sizes, seen):
            visited = [counts[place] for place in range(size)]
            assert max(visited) - min(visited) <= 1
            # What does not fill a batch waits for the next epoch: less than one batch of each bucket.
            assert epoch * size - batch < sum(visited) <= epoch * size


@pytest.mark.parametrize("sizes, batch", [((12,), 4), ((64, 32), 8), ((5, 7, 3), 1)])
def test_where_batches_fit_an_epoch_sees_every_image_exactly_once(sizes, batch):
    order = BatchOrder(sizes, batch)
    length = sum(sizes) // batch
    for epoch in range(4):
        drawn = [
            (v.bucket, place) for v in (order.visit(epoch * length + i) for i in range(length)) for place in v.places
        ]
        assert sorted(drawn) == [(bucket, place) for bucket, size in enumerate(sizes) for place in range(size)]


@pytest.mark.parametrize("sizes, batch", SHAPES)
def test_epochs_never_run_backwards_and_none_of_their_steps_is_lost(sizes, batch):
    order = BatchOrder(sizes, batch)
    epochs = [order.epoch(step) for step in range(200)]
    assert epochs == sorted(epochs)
    for epoch in range(epochs[-1]):
        # A bucket of n images fills its k-th batch (from 1) in the pass in which its image k b falls.
        full = sum(len([k for k in range(1, 10_000) if math.ceil(k * batch / size) - 1 == epoch]) for size in sizes)
        assert epochs.count(epoch) == full


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("sizes, batch", SHAPES)
def test_ranks_together_see_what_one_rank_with_the_whole_batch_sees(sizes, batch, world):
    whole = BatchOrder(sizes, world * batch, seed=5)
    parts = [BatchOrder(sizes, batch, seed=5, rank=rank, world=world) for rank in range(world)]
    for step in range(30):
        together = whole.visit(step)
        split_up = [part.visit(step) for part in parts]
        assert {part.bucket for part in split_up} == {together.bucket}
        assert sum((part.places for part in split_up), ()) == together.places
        assert sum((part.mirrored for part in split_up), ()) == together.mirrored


def test_epochs_and_seeds_differ_in_order():
    def drawn(seed, epoch):
        return [BatchOrder((64,), 8, seed=seed).visit(8 * epoch + i).places for i in range(8)]

    assert len({str(drawn(seed, epoch)) for seed in (0, 1, -1, 2**70) for epoch in range(4)}) == 16


def test_the_global_random_state_neither_matters_nor_changes():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = visits(BatchOrder((9, 4), 2), 10)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert visits(BatchOrder((9, 4), 2), 10) == first


def test_the_batches_of_the_buckets_come_mixed_and_not_one_bucket_after_the_other():
    buckets = [visit.bucket for visit in visits(BatchOrder((400, 400), 4), 200)]
    changes = sum(one != other for one, other in zip(buckets, buckets[1:]))
    assert buckets.count(0) == buckets.count(1) == 100
    assert 70 < changes < 130


def test_buckets_of_one_size_are_not_shuffled_alike_nor_epochs_mixed_alike():
    order = BatchOrder((20, 20), 4)
    epochs = [[order.visit(10 * epoch + i) for i in range(10)] for epoch in range(4)]
    places = [[place for visit in epochs[0] if visit.bucket == bucket for place in visit.places] for bucket in (0, 1)]
    assert sorted(places[0]) == sorted(places[1])
    assert {visit.places for visit in epochs[0] if visit.bucket == 0} != {
        visit.places for visit in epochs[0] if visit.bucket == 1
    }
    assert len({tuple(visit.bucket for visit in epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_asked_share_of_the_visits_is_mirrored_independently_of_the_image(share):
    flips, per_image = [], Counter()
    order = BatchOrder((50,), 50, mirror=share)
    for visit in visits(order, 200):
        flips += visit.mirrored
        per_image.update(place for place, mirrored in zip(visit.places, visit.mirrored) if mirrored)
    sigma = math.sqrt(share * (1 - share) / len(flips))
    assert abs(sum(flips) / len(flips) - share) < 5 * sigma
    assert all(abs(per_image[place] / 200 - share) < 5 * math.sqrt(share * (1 - share) / 200) for place in range(50))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_or_nothing_can_be_mirrored(share):
    assert {flip for visit in visits(BatchOrder((9,), 3, mirror=share), 30) for flip in visit.mirrored} == {bool(share)}


def test_a_step_far_away_is_found_at_once():
    order = BatchOrder((1000, 37, 2), 32)
    far = 10**12
    assert order.epoch(far) == pytest.approx(far * 32 / 1039, abs=3)
    assert len(order.visit(far).places) == 32


@pytest.mark.parametrize(
    "wrong", [{"sizes": ()}, {"sizes": (3, 0)}, {"batch_size": 0}, {"rank": 2, "world": 2}, {"rank": -1}]
)
def test_an_order_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\.$"):
        BatchOrder(**{"sizes": (4,), "batch_size": 2, **wrong})


def keys(count, offset=0):
    return [f"{number:08x}" for number in range(offset, offset + count)]


@pytest.mark.parametrize("count, held_out", [(8, 4), (39, 4), (40, 4), (49, 4), (50, 5), (1000, 100)])
def test_a_tenth_of_the_images_is_held_out_and_at_least_four(count, held_out):
    result = split(keys(count))
    assert len(result.held_out) == held_out
    assert sorted(result.train + result.held_out) == list(range(count))
    assert result.note == f"{held_out} of {count} images are held out and never trained on."


@pytest.mark.parametrize("count", [0, 1, 7])
def test_of_too_few_images_none_is_held_out_and_that_is_said(count):
    result = split(keys(count))
    assert result.train == tuple(range(count)) and result.held_out == ()
    assert f"{count} different images are too few" in result.note


def test_the_split_goes_by_content_and_not_by_order():
    names = keys(60)
    chosen = {names[i] for i in split(names).held_out}
    assert {names[::-1][i] for i in split(names[::-1]).held_out} == chosen
    assert chosen != set(names[:6]) and chosen != set(names[-6:])


def test_added_images_move_few_of_the_old_ones_to_the_other_side():
    old, new = keys(1000), keys(1010)
    before, after = ({names[i] for i in split(names).held_out} for names in (old, new))
    assert len((before ^ after) & set(old)) <= 10


def test_copies_of_an_image_fall_on_the_same_side_and_count_once():
    doubled = keys(20) * 2
    result = split(doubled)
    held_out, train = ({doubled[i] for i in side} for side in (result.held_out, result.train))
    assert not held_out & train and len(held_out) == 4 and len(result.held_out) == 8
    assert split(["00"] * 30).held_out == (), "thirty copies of one image are one image"


SHARED = torch.Generator().manual_seed(0)
PICTURES = torch.rand(9, 8, 8, 3, generator=SHARED)


class Mixed(BatchImages):
    """Every third picture is half as wide."""

    def load(self, index):
        return super().load(index)[:, :, : 4 if index % 3 == 0 else 8]


def encode(pixels):
    mean = torch.nn.functional.avg_pool2d(pixels, 2) + torch.arange(pixels.shape[3] // 2) * 0.25
    return mean, mean - 3


def cached(folder, source=None, encode=encode):
    cache = LatentCache(folder, source or Mixed(PICTURES), encode, vae="v", bucket_of=lambda size: size, cell=2)
    list(cache.fill())
    return cache.open()


def generator(step):
    return torch.Generator().manual_seed(100 + step)


def test_a_batch_is_drawn_from_the_posteriors_with_the_steps_generator(tmp_path):
    latents = cached(tmp_path)
    loader = LatentLoader(latents, range(9), batch_size=3, seed=2)
    sides = Counter()
    for step in range(12):
        batch = loader.batch(step, generator(step))
        noise = torch.randn(3, 3, 4, batch.bucket.width // 2, generator=generator(step))
        assert batch.latents.dtype == torch.float32 and batch.bucket in (Size(8, 8), Size(4, 8))
        for row, (image, mirrored) in enumerate(zip(batch.images, batch.mirrored)):
            sides[mirrored] += 1
            pixels = Mixed(PICTURES).load(image)
            mean, logvar = encode((pixels.flip(-1) if mirrored else pixels)[None])
            expected = torch.distributions.Normal(mean[0], torch.exp(0.5 * logvar[0]))
            torch.testing.assert_close(
                batch.latents[row], expected.mean + expected.stddev * noise[row], atol=5e-3, rtol=1e-3
            )
    assert min(sides[True], sides[False]) > 5


def test_the_same_step_gives_the_same_batch_and_another_draw_another_sample(tmp_path):
    loader = LatentLoader(cached(tmp_path), range(9), batch_size=3)
    again = LatentLoader(cached(tmp_path), range(9), batch_size=3)
    assert torch.equal(loader.batch(5, generator(5)).latents, again.batch(5, generator(5)).latents)
    assert not torch.equal(loader.batch(5, generator(5)).latents, loader.batch(5, generator(6)).latents)


def test_two_ranks_draw_together_what_one_draws_with_twice_the_batch(tmp_path):
    latents = cached(tmp_path)
    one = LatentLoader(latents, range(9), batch_size=4)
    two = [LatentLoader(latents, range(9), batch_size=2, rank=rank, world=2) for rank in range(2)]
    for step in range(10):
        whole, parts = one.batch(step, generator(step)), [part.batch(step, generator(step)) for part in two]
        assert torch.equal(torch.cat([part.latents for part in parts]), whole.latents)
        assert sum((part.images for part in parts), ()) == whole.images


def test_only_the_given_images_are_drawn_whatever_they_are_called(tmp_path):
    latents = cached(tmp_path / "a")
    loader = LatentLoader(latents, [1, 2, 4, 6], batch_size=2)
    assert {image for step in range(30) for image in loader.batch(step, generator(step)).images} == {1, 2, 4, 6}
    order = [8, 7, 6, 5, 4, 3, 2, 1, 0]

    class Renamed(Mixed):
        def load(self, index):
            return Mixed(PICTURES).load(order[index])

        def content_key(self, index):
            return Mixed(PICTURES).content_key(order[index])

    renamed = LatentLoader(
        cached(tmp_path / "b", Renamed(PICTURES)), [order.index(i) for i in (1, 2, 4, 6)], batch_size=2
    )
    for step in range(10):
        assert torch.equal(renamed.batch(step, generator(step)).latents, loader.batch(step, generator(step)).latents)


def test_a_vae_without_a_posterior_gives_its_mean(tmp_path):
    latents = cached(tmp_path, encode=lambda pixels: (encode(pixels)[0], None))
    batch = LatentLoader(latents, range(9), batch_size=2, mirror=0).batch(0, generator(0))
    expected = torch.cat([encode(Mixed(PICTURES).load(image)[None])[0] for image in batch.images])
    torch.testing.assert_close(batch.latents, expected, atol=2e-3, rtol=1e-3)


def test_held_out_batches_show_every_image_once_the_same_way_each_time(tmp_path):
    latents = cached(tmp_path)
    first, second = (list(held_out_batches(latents, [8, 0, 3, 5, 7], 2)) for _ in range(2))
    assert all(torch.equal(one.latents, other.latents) for one, other in zip(first, second))
    assert sorted(image for batch in first for image in batch.images) == [0, 3, 5, 7, 8]
    for batch in first:
        assert not any(batch.mirrored) and {latents.images[image].bucket for image in batch.images} == {batch.bucket}
        expected = torch.cat([encode(Mixed(PICTURES).load(image)[None])[0] for image in batch.images])
        torch.testing.assert_close(batch.latents, expected, atol=2e-3, rtol=1e-3)


def test_images_that_must_repeat_within_a_batch_are_said(tmp_path):
    latents = cached(tmp_path)
    assert LatentLoader(latents, range(9), batch_size=3).note == ""
    assert LatentLoader(latents, range(9), batch_size=4).note.startswith(
        "3 images share their size with fewer images than a batch of 4"
    )
    assert "a batch of 8" in LatentLoader(latents, range(9), batch_size=4, world=2).note


def test_a_loader_of_no_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No image was given"):
        LatentLoader(cached(tmp_path), [], batch_size=1)
