"""Bucket sizes and crops against their definitions."""

import math

import pytest
import torch

from domain_guidance.data import Size, aspect_buckets, bucket_sizes, sdxl_size_conditioning, shorter_side
from domain_guidance.data.buckets import Box, crop_box, fit_to_bucket, nearest_bucket

RESOLUTIONS = [(256, 32), (512, 64), (512, 8), (768, 64), (1024, 64), (32, 8)]


@pytest.mark.parametrize("resolution, step", RESOLUTIONS)
def test_buckets_are_whole_steps_of_nearly_one_area(resolution, step):
    sizes = bucket_sizes(resolution, step=step)
    assert Size(resolution, resolution) in sizes and len(sizes) > 2
    for width, height in sizes:
        assert width % step == height % step == 0
        assert max(width, height) <= 2 * min(width, height)
        # Half a step on the shorter side is all that rounding can do.
        assert abs(width * height - resolution**2) <= max(width, height) * step / 2


@pytest.mark.parametrize("resolution, step", RESOLUTIONS)
def test_a_picture_on_its_side_gets_the_bucket_on_its_side(resolution, step):
    sizes = bucket_sizes(resolution, step=step)
    assert {Size(height, width) for width, height in sizes} == set(sizes)
    assert list(sizes) == sorted(set(sizes))


def test_the_buckets_of_512_are_these():
    landscape = [(512, 512), (576, 448), (640, 384), (704, 384)]
    assert set(bucket_sizes(512)) == {*landscape, *((height, width) for width, height in landscape)}


def test_a_longer_ratio_gives_longer_buckets():
    assert max(width / height for width, height in bucket_sizes(512, longest_ratio=4)) == 4
    assert bucket_sizes(512, longest_ratio=1) == (Size(512, 512),)


@pytest.mark.parametrize(
    "size, bucket",
    [
        ((512, 512), (512, 512)),
        ((530, 512), (512, 512)),
        ((3000, 2300), (576, 448)),
        ((90, 120), (448, 576)),
        ((1920, 1080), (704, 384)),
        ((9999, 10), (704, 384)),
        ((10, 9999), (384, 704)),
    ],
)
def test_an_image_goes_to_the_bucket_of_the_nearest_shape(size, bucket):
    assert aspect_buckets(512)(Size(*size)) == nearest_bucket(Size(*size), bucket_sizes(512)) == bucket


def test_the_shorter_side_gets_the_resolution_and_the_longer_one_follows():
    to = shorter_side(512)
    assert to(Size(512, 512)) == to(Size(64, 64)) == (512, 512)
    assert to(Size(1024, 768)) == (680, 512)  # 682.67 to whole cells
    assert to(Size(768, 1024)) == (512, 680)
    assert to(Size(1000, 500)) == (1024, 512)
    assert to(Size(100_000, 10)) == (2048, 512)


def test_the_shorter_side_loses_less_than_one_cell_of_the_picture():
    to = shorter_side(512)
    for width in range(300, 1200, 7):
        size = Size(width, 300)
        box, bucket = crop_box(size, to(size)), to(size)
        scale = bucket.height / box.height
        assert box.height == 300 and (size.width - box.width) * scale < 8 + scale


def test_a_resolution_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="resolution 32 is smaller than one step of 64"):
        bucket_sizes(32)
    with pytest.raises(ValueError, match="resolution 500 is not a multiple of the latent cell of 8"):
        shorter_side(500)


def test_the_crop_is_centred_and_as_large_as_the_shape_allows():
    assert crop_box(Size(1000, 500), Size(512, 512)) == Box(250, 0, 500, 500)
    assert crop_box(Size(500, 1000), Size(512, 512)) == Box(0, 250, 500, 500)
    assert crop_box(Size(640, 480), Size(640, 480)) == Box(0, 0, 640, 480)


@pytest.mark.parametrize("size", [(1, 1), (8, 5000), (4999, 8), (333, 777), (641, 640), (2, 3)])
@pytest.mark.parametrize("bucket", bucket_sizes(512))
def test_a_crop_lies_within_the_image_and_touches_two_opposite_sides(size, bucket):
    size = Size(*size)
    box = crop_box(size, bucket)
    assert box.left >= 0 and box.left + box.width <= size.width and box.width >= 1
    assert box.top >= 0 and box.top + box.height <= size.height and box.height >= 1
    assert box.width == size.width or box.height == size.height
    exact = (
        min(size.width, size.height * bucket.width / bucket.height),
        min(size.height, size.width * bucket.height / bucket.width),
    )
    assert abs(box.width - max(1, exact[0])) <= 0.5 and abs(box.height - max(1, exact[1])) <= 0.5
    assert abs(size.width - box.width - 2 * box.left) <= 1 and abs(size.height - box.height - 2 * box.top) <= 1


def test_an_image_of_the_buckets_size_is_left_as_it_is():
    image = torch.rand(3, 448, 576) * 2 - 1
    assert torch.equal(fit_to_bucket(image, Size(576, 448)), image)


def test_a_resized_ramp_is_a_ramp_and_stays_in_range():
    ramp = torch.linspace(-1, 1, 400).expand(3, 200, 400)
    small = fit_to_bucket(ramp, Size(64, 64))
    assert small.shape == (3, 64, 64)
    # The middle 200 columns remain; pixel centres of the smaller picture, from the definition of resampling.
    left, right = ramp[0, 0, 100].item(), ramp[0, 0, 299].item()
    expected = torch.tensor([left + (right - left) * ((i + 0.5) * 200 / 64 - 0.5) / 199 for i in range(64)])
    torch.testing.assert_close(small[0, 32, 3:-3], expected[3:-3], atol=1e-3, rtol=0)
    checks = (torch.arange(200) % 2 * 2.0 - 1).expand(3, 200, 200)
    assert fit_to_bucket(checks, Size(512, 512)).abs().max() <= 1
    assert fit_to_bucket(checks, Size(64, 64)).abs().mean() < 0.3, "a fine pattern becomes grey, not another pattern"


def test_a_thin_picture_is_cropped_before_it_is_blown_up(monkeypatch):
    asked, real = [], torch.nn.functional.interpolate

    def watched(image, size, **options):
        asked.append(image.shape)
        return real(image, size, **options)

    monkeypatch.setattr("domain_guidance.data.buckets.functional.interpolate", watched)
    assert fit_to_bucket(torch.zeros(3, 8, 20_000), Size(704, 384)).shape == (3, 384, 704)
    assert math.prod(asked[0]) < 3 * 8 * 32


def test_the_size_conditioning_is_the_bucket_without_crop():
    assert sdxl_size_conditioning(Size(1152, 896)).tolist() == [896, 1152, 0, 0, 896, 1152]
