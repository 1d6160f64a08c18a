"""Convolutions and normalisations with channels innermost against torch's own, values and
gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from learnsym.layers.fast.batched_conv import (
    FEW_CHANNELS,
    gather_taps,
    space_mean,
    sum_taps,
    tanh_pool_norm,
    tap_conv,
)

TAPS = {"cross": (4, 1, 3, 5, 7), "skew": (0, 1, 3, 5, 7), "corner": (8,), "all": tuple(range(9))}
each = pytest.mark.parametrize("taps", list(TAPS.values()), ids=list(TAPS))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dense_conv(images: Tensor, kernel: Tensor, taps: tuple[int, ...]) -> Tensor:
    """By F.conv2d, member by member, with a 3 x 3 kernel that is zero off the taps."""
    outputs = []
    for place, own in enumerate(kernel):
        dense = own.new_zeros(9, *own.shape[1:]).index_copy(
            0, torch.tensor(taps), own
        )  # [9, C, C']
        seen = images[place if len(images) > 1 else 0].permute(0, 3, 1, 2)
        outputs.append(
            F.conv2d(seen, dense.view(3, 3, *own.shape[1:]).permute(3, 2, 0, 1), padding=1).permute(
                0, 2, 3, 1
            )
        )
    return torch.stack(outputs)


@each
@pytest.mark.parametrize(
    ("seen", "members"), [(1, 3), (3, 3), (1, 1)], ids=["shared", "own", "one"]
)
@pytest.mark.parametrize("shape", [(5, 4), (1, 1)], ids=["5x4", "1x1"])
@pytest.mark.parametrize("channels", [3, FEW_CHANNELS])
def test_tap_conv_is_a_masked_convolution(taps, seen, members, shape, channels):
    images = random(seen, 2, *shape, channels, seed=1).requires_grad_()
    kernel = random(members, len(taps), channels, 4, seed=2).requires_grad_()
    found, expected = tap_conv(images, kernel, taps), dense_conv(images, kernel, taps)
    assert found.shape == (members, 2, *shape, 4)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    slope = random(*expected.shape, seed=3)
    of_found = torch.autograd.grad(found, (images, kernel), slope)
    of_expected = torch.autograd.grad(expected, (images, kernel), slope)
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_tap_conv_without_a_gradient_of_the_images():
    images, kernel = random(1, 2, 4, 4, 3), random(2, 5, 3, 4, seed=1).requires_grad_()
    tap_conv(images, kernel, TAPS["skew"]).square().sum().backward()
    found, kernel.grad = kernel.grad, None
    dense_conv(images, kernel, TAPS["skew"]).square().sum().backward()
    torch.testing.assert_close(found, kernel.grad, rtol=1e-12, atol=1e-12)


def test_tap_conv_of_views():
    """Images and gradients whose channels do not lie innermost."""
    images = random(2, 2, 3, 4, 5).permute(0, 1, 3, 4, 2).requires_grad_()
    kernel = random(2, 5, 3, 4, seed=1).requires_grad_()
    slope = random(2, 2, 4, 5, 4, seed=2).transpose(2, 4)
    assert not images.is_contiguous()
    assert not slope.is_contiguous()
    found = torch.autograd.grad(tap_conv(images, kernel, TAPS["cross"]), (images, kernel), slope)
    expected = torch.autograd.grad(
        dense_conv(images, kernel, TAPS["cross"]), (images, kernel), slope
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_neighbours():
    images = torch.arange(1.0, 10).view(1, 1, 3, 3, 1)
    seen = gather_taps(images, tuple(range(9)))
    assert seen[0, 0, 1, 1].tolist() == list(range(1, 10)), "the taps of the middle, row by row"
    assert seen[0, 0, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 0, 4, 5]
    assert gather_taps(images, (7, 0))[0, 0, 1, 1].tolist() == [8, 1], (
        "in the order that was asked for"
    )


@each
@pytest.mark.parametrize("channels", [2, FEW_CHANNELS])
def test_sent_back_is_the_adjoint(taps, channels):
    images, parts = (
        random(2, 3, 4, 5, channels, seed=6),
        random(2, 3, 4, 5, len(taps), channels, seed=7),
    )
    there, back = (
        (gather_taps(images, taps) * parts.flatten(4)).sum(),
        (images * sum_taps(parts, taps)).sum(),
    )
    torch.testing.assert_close(there, back, rtol=1e-12, atol=1e-12)


def test_what_is_kept_from_inference_serves_in_training():
    images, kernel = (
        random(1, 2, 3, 7, FEW_CHANNELS).requires_grad_(),
        random(1, 5, FEW_CHANNELS, 2, seed=1).requires_grad_(),
    )
    with torch.inference_mode():
        tap_conv(images, kernel, TAPS["cross"])
    tap_conv(images, kernel, TAPS["cross"]).sum().backward()
    assert images.grad.abs().min() > 0


def by_torch(x: Tensor, pool: bool) -> Tensor:
    """tanh, avg_pool2d and layer_norm over (H, W), on [M, B, H, W, C]."""
    inner = x.permute(0, 1, 4, 2, 3).flatten(0, 1).tanh()  # [M B, C, H, W]
    inner = F.avg_pool2d(inner, 2) if pool else inner
    normal = F.layer_norm(inner, inner.shape[2:])
    return normal.unflatten(0, x.shape[:2]).permute(0, 1, 3, 4, 2)


@pytest.mark.parametrize(
    ("pool", "shape"), [(True, (4, 6)), (True, (2, 4)), (False, (3, 5)), (False, (4, 4))]
)
@pytest.mark.parametrize("view", [False, True], ids=["contiguous", "view"])
def test_tanh_pool_norm(pool, shape, view):
    x = random(2, 3, *shape, 4, seed=4).requires_grad_()
    if view:
        x = random(2, 3, 4, *shape, seed=4).permute(0, 1, 3, 4, 2).requires_grad_()
    found, expected = tanh_pool_norm(x, pool), by_torch(x, pool)
    assert found.shape == (2, 3, *(side // 2 if pool else side for side in shape), 4)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    slope = random(*found.shape, seed=5)
    ours, theirs = (torch.autograd.grad(y, x, slope)[0] for y in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("pool", [True, False])
def test_numeric_gradients(pool):
    x = random(2, 1, 4, 2, 2).requires_grad_()
    assert gradcheck(lambda t: tanh_pool_norm(t, pool), x)
    kernel = random(2, 5, 2, 3, seed=1).requires_grad_()
    assert gradcheck(lambda t, k: tap_conv(t, k, TAPS["skew"]), (x, kernel))
    shared = random(1, 1, 4, 2, 2).requires_grad_()
    assert gradcheck(lambda t, k: tap_conv(t, k, TAPS["skew"]), (shared, kernel))


def test_a_constant_channel_is_zero_and_has_a_gradient():
    """No variance: the layer norm's epsilon decides, as torch's does."""
    x = torch.full((1, 1, 4, 4, 2), 0.3, dtype=torch.float64, requires_grad=True)
    found = tanh_pool_norm(x, True)
    assert found.abs().max() < 1e-12
    slope = random(*found.shape)
    ours, theirs = (torch.autograd.grad(y, x, slope)[0] for y in (found, by_torch(x, True)))
    assert theirs.abs().max() > 1
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_space_mean():
    x = random(3, 7, 2)
    torch.testing.assert_close(space_mean(x), x.mean(1, keepdim=True), rtol=1e-13, atol=1e-15)


def test_second_derivatives_are_refused():
    x, kernel = random(1, 1, 2, 2, 2).requires_grad_(), random(1, 5, 2, 3).requires_grad_()
    for outputs, leaf in (
        (tap_conv(x, kernel, TAPS["cross"]), kernel),
        (tanh_pool_norm(x, True), x),
    ):
        (slope,) = torch.autograd.grad(outputs.square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            slope.sum().backward()
        (slope,) = torch.autograd.grad(outputs.sum(), leaf, create_graph=True)
        assert not slope.requires_grad, "no graph that would be silently wrong"
