"""Turning stored images: counter-clockwise, rounded, the same picture whatever the subset."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnsym.data import rotation
from learnsym.data.base import Split
from learnsym.data.rotation import random_angles, rotate_pixels, rotate_splits
from learnsym.data.splits import SplitSettings, take


def smooth(count, side=24):
    """Pictures without fine detail, zero outside the inscribed circle."""
    grid = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    centres = torch.linspace(-0.3, 0.3, count).view(-1, 1, 1, 1)
    return torch.exp(-(((x - centres) ** 2 + (y + 0.4 * centres) ** 2) / 0.16)) * (
        x**2 + y**2 < 0.9
    )


@given(st.integers(-4, 4))
@settings(max_examples=9, deadline=None)
def test_quarter_turns_are_exact_in_bytes(quarters):
    images = torch.randint(0, 256, (3, 2, 11, 11), dtype=torch.uint8)
    turned = rotate_pixels(images, torch.full((3,), quarters * math.pi / 2))
    assert turned.dtype == torch.uint8
    assert torch.equal(turned, torch.rot90(images, quarters, (-2, -1)))


@given(st.floats(-math.pi, math.pi), st.floats(-math.pi, math.pi))
@settings(max_examples=25, deadline=None)
def test_two_turns_are_one_up_to_interpolation(first, second):
    images = smooth(2)
    twice = rotate_pixels(rotate_pixels(images, torch.full((2,), first)), torch.full((2,), second))
    once = rotate_pixels(images, torch.full((2,), first + second))
    assert (twice - once).abs().max() < 0.05


def test_bytes_are_the_rounded_reals_in_chunks_of_any_size(monkeypatch):
    images = torch.randint(0, 256, (10, 1, 9, 9), dtype=torch.uint8)
    angles = random_angles(10, 180, 0, "test")
    whole = rotate_pixels(images, angles)
    assert torch.equal(
        whole, rotate_pixels(images.float(), angles).round().clamp(0, 255).to(torch.uint8)
    )
    monkeypatch.setattr(rotation, "CHUNK", 3)
    assert torch.equal(rotate_pixels(images, angles), whole)


def test_angles_are_uniform_in_their_range():
    angles = torch.rad2deg(random_angles(40_000, 30, 0, "test"))
    assert angles.abs().max() <= 30
    counts = torch.histc(angles, 6, -30, 30)
    assert (counts - 40_000 / 6).abs().max() < 400


def test_a_subset_holds_the_same_pictures():
    images, targets = torch.randint(0, 256, (40, 1, 9, 9), dtype=torch.uint8), torch.arange(40)
    part, counts = Split(images, targets), {"train": 40, "test": 40}
    everything = SplitSettings().choose(40, 40)
    some = SplitSettings(train_size=7, val_size=5, test_size=6).choose(40, 40)
    whole = rotate_splits(take(part, part, everything), everything, counts, 90, 0)
    few = rotate_splits(take(part, part, some), some, counts, 90, 0)
    for name, source in (("train", "train"), ("val", "train"), ("test", "test")):
        assert torch.equal(few[name].inputs, whole[source].inputs[few[name].targets])
    assert not torch.equal(whole["train"].inputs, whole["test"].inputs)


def test_no_range_is_no_change():
    part = Split(torch.randint(0, 256, (4, 1, 9, 9), dtype=torch.uint8), torch.arange(4))
    splits = rotate_splits(
        {"train": part}, {"train": torch.arange(4)}, {"train": 4, "test": 0}, 0, 0
    )
    assert splits["train"] is part
