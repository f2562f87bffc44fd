"""Pictures of pixel values: rounded, cut off, and unchanged by precision."""

import pytest
import torch

from domain_guidance.pictures.pixels import as_picture


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_levels_are_rounded_and_what_lies_beyond_is_cut_off(dtype):
    image = torch.tensor([-5.0, -1.0, 0.0, 1.0, 7.0], dtype=dtype).expand(3, 2, 5).clone().requires_grad_()
    picture = as_picture(image)
    assert picture.mode == "RGB" and picture.size == (5, 2)
    assert [picture.getpixel((x, 1))[2] for x in range(5)] == [0, 0, 128, 255, 255]


def test_every_level_comes_back():
    levels = torch.arange(256, dtype=torch.float32).reshape(1, 16, 16).expand(3, -1, -1)
    picture = as_picture(levels / 127.5 - 1)
    assert picture.tobytes()[::3] == bytes(range(256))
