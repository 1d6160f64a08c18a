"""Fixed augmentation: pixels only move, by what the name says, and several processes agree."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnsym.data.augment import AUGMENTATIONS, PADDING, flip, flip_crop, rotation
from learnsym.utils.rng import BatchRows

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


def distinct(shape):
    """Images in which every pixel has its own value, above zero."""
    return torch.arange(1.0, 1 + torch.tensor(shape).prod()).view(shape)


def slow_flip_crop(images, draws):
    """One sample after the other, as one would write it down."""
    out = []
    for image, (top, left, mirror) in zip(images, draws.tolist(), strict=True):
        padded = torch.nn.functional.pad(image, (PADDING,) * 4)
        i, j = int(top * (2 * PADDING + 1)), int(left * (2 * PADDING + 1))
        window = padded[:, i : i + image.shape[1], j : j + image.shape[2]]
        out.append(window.flip(-1) if mirror < 0.5 else window)
    return torch.stack(out)


@given(SHAPES, st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_flip_mirrors_each_image_or_leaves_it(shape, seed):
    torch.manual_seed(seed)
    images = distinct(shape)
    for before, after in zip(images, flip(images), strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))


@given(SHAPES, st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_flip_crop_is_what_one_would_write_down(shape, seed):
    images = distinct(shape)
    torch.manual_seed(seed)
    fast = flip_crop(images)
    torch.manual_seed(seed)
    assert torch.equal(fast, slow_flip_crop(images, torch.rand(shape[0], 3)))


def test_flip_crop_reaches_all_windows_equally_often():
    images = torch.zeros(20_000, 1, 9, 9)
    images[..., 4, 4] = 1
    torch.manual_seed(0)
    counts = flip_crop(images).sum((0, 1))
    assert counts.sum() == 20_000
    assert (counts - 20_000 / 81).abs().max() < 5 * (20_000 / 81) ** 0.5


def test_flip_happens_half_of_the_time():
    torch.manual_seed(0)
    images = torch.tensor([[[[0.0, 1.0]]]]).expand(10_000, 1, 1, 2)
    assert abs(flip(images)[..., 0].mean() - 0.5) < 0.02


def test_rotation_covers_the_circle():
    images = torch.zeros(8_000, 1, 9, 9)
    images[..., 4, 8] = 1
    torch.manual_seed(0)
    turned = rotation(images)
    y, x = torch.meshgrid(torch.arange(9.0) - 4, torch.arange(9.0) - 4, indexing="ij")
    angles = torch.atan2((turned[:, 0] * -y).sum((1, 2)), (turned[:, 0] * x).sum((1, 2)))
    quadrants = torch.histc(angles, 4, -torch.pi, torch.pi)
    assert (quadrants - 2000).abs().max() < 200


@pytest.mark.parametrize("name", ["none", "flip", "flip_crop", "rotation"])
def test_processes_that_share_a_batch_agree_with_one(name):
    images, augment = torch.rand(6, 3, 8, 8), AUGMENTATIONS[name]
    torch.manual_seed(1)
    whole = augment(images, None)
    for start, stop in ((0, 2), (2, 6)):
        torch.manual_seed(1)
        part = augment(images[start:stop], BatchRows(start, stop, 6))
        # Not to the last bit: the sine of an angle depends on its place in a vector register.
        torch.testing.assert_close(part, whole[start:stop], atol=1e-5, rtol=0)
