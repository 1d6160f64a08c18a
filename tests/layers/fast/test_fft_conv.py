"""Convolutions by frequencies: equal to conv2d, with gradients of any order, and taken where they
are faster."""

import pytest
import torch
import torch.nn.functional as F

from learnsym.distributions.group_sampler import GroupSampler
from learnsym.distributions.sampling import FullSampling
from learnsym.groups.point_groups import SO2
from learnsym.kernels.siren import SIREN
from learnsym.layers import continuous_conv
from learnsym.layers.continuous_conv import disc_taps
from learnsym.layers.fast import fft_conv as module
from learnsym.layers.fast.fft_conv import fft_conv, fft_is_faster, transforms
from learnsym.layers.group_conv import GroupConv, LiftingConv

SIZES = [(7, 14, 14), (7, 7, 8), (7, 2, 3), (5, 1, 2), (3, 5, 4), (3, 2, 2)]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def convolutions(dtype):
    """A lifting and a group convolution on eight rotations in evaluation, and images."""

    def elements():
        return GroupSampler(FullSampling(samples=8), SO2())

    lift, conv = LiftingConv(1, 3, SIREN(), elements(), 7), GroupConv(3, 2, SIREN(), elements(), 7)
    return lift.to(dtype).eval(), conv.to(dtype).eval(), torch.randn(2, 1, 9, 9, dtype=dtype)


def example(size, height, width, dtype=torch.float64):
    """Images, a kernel [4, 3, taps], its corners, and the same kernel as conv2d wants it."""
    taps, _ = disc_taps(size)
    images, kernel = (
        torch.randn(2, 3, height, width, dtype=dtype),
        torch.randn(4, 3, len(taps), dtype=dtype),
    )
    dense = (
        kernel.new_zeros(4, 3, size * size).index_copy(2, taps, kernel).unflatten(-1, (size, size))
    )
    return images, kernel, tuple(divmod(tap, size) for tap in taps.tolist()), dense


@pytest.mark.parametrize(("size", "height", "width"), SIZES)
@pytest.mark.parametrize("products", [3, 4])
def test_it_is_a_conv2d(size, height, width, products, monkeypatch):
    images, kernel, corners, dense = example(size, height, width)
    tables = transforms(height, width, corners, size, products)
    monkeypatch.setattr(module, "transforms", lambda *_: tables)
    expected = F.conv2d(images, dense, padding=size // 2)
    torch.testing.assert_close(
        fft_conv(images, kernel, corners, size), expected, atol=1e-11, rtol=1e-11
    )


@pytest.mark.parametrize("part", [1.0, 900.0, 1e9], ids=["one product at a time", "a few", "all"])
def test_first_and_second_derivatives(part, monkeypatch):
    monkeypatch.setattr(module, "_PART_BYTES", part)
    images, kernel, corners, dense = example(3, 4, 3)
    images.requires_grad_(), kernel.requires_grad_()

    def conv(x, k):
        return fft_conv(x, k, corners, 3)

    torch.testing.assert_close(conv(images, kernel), F.conv2d(images, dense, padding=1))
    assert torch.autograd.gradcheck(conv, (images, kernel))
    assert torch.autograd.gradgradcheck(conv, (images, kernel))


@pytest.mark.parametrize(
    ("dtype", "times"), [(torch.float32, 3.0), (torch.bfloat16, 2.0)], ids=["float32", "bfloat16"]
)
def test_it_rounds_about_as_conv2d_does(dtype, times):
    taps, _ = disc_taps(7)
    corners = tuple(divmod(tap, 7) for tap in taps.tolist())
    images, kernel = torch.randn(4, 64, 14, 14).relu(), torch.randn(64, 64, len(taps))
    dense = kernel.new_zeros(64, 64, 49).index_copy(2, taps, kernel).unflatten(-1, (7, 7))
    exact = F.conv2d(images.double(), dense.double(), padding=3)
    ours = fft_conv(images, kernel.to(dtype), corners, 7)
    theirs = F.conv2d(images.to(dtype), dense.to(dtype), padding=3)
    assert ours.dtype == dtype
    assert (ours - exact).norm() < times * (theirs - exact).norm()


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
def test_a_layer_computes_the_same_either_way(autocast, monkeypatch):
    lift, conv, images = convolutions(torch.float32)
    found = []
    for answer in (False, True):
        monkeypatch.setattr(continuous_conv, "fft_is_faster", lambda *_, answer=answer: answer)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            features, elements = lift(images)
            y, _ = conv(features.relu(), elements)
        gradients = torch.autograd.grad(
            y.float().square().mean(), [*lift.parameters(), *conv.parameters()]
        )
        found.append((y.float(), *gradients))
        assert y.dtype == (torch.bfloat16 if autocast else torch.float32)
    for one, other in zip(*found, strict=True):
        tolerance = 0.03 if autocast else 1e-5
        assert (one - other).norm() <= tolerance * one.norm() + 1e-7


def test_it_commutes_with_quarter_turns(monkeypatch):
    monkeypatch.setattr(continuous_conv, "fft_is_faster", lambda *_: True)
    monkeypatch.setattr(continuous_conv.F, "conv2d", None)  # not called
    lift, conv, images = convolutions(torch.float64)

    def pooled(x):
        features, elements = lift(x)
        return conv(features.relu(), elements)[0].amax(2)

    torch.testing.assert_close(
        pooled(images.rot90(1, (-2, -1))), pooled(images).rot90(1, (-2, -1)), atol=1e-10, rtol=1e-10
    )


def test_it_is_taken_where_measured_faster():
    """The sizes of benchmarks/partial_conv.py, and a few channels."""

    def faster(channels, side, taps, size, dtype):
        images = torch.empty(1).expand(64, channels, side, side)
        return fft_is_faster(images, (channels, channels, taps), size, dtype)

    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert faster(256, 14, 29, 7, dtype)
        assert faster(512, 7, 29, 7, dtype)
        assert not faster(8, 28, 29, 7, dtype)
    assert faster(256, 7, 5, 3, torch.float32)
    assert not faster(256, 7, 5, 3, torch.bfloat16)
