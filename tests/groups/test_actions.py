"""The actions of planar groups on images and points."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from learnsym.groups.actions import act_on_images, act_on_points, rotate_images, warp
from learnsym.groups.planar import E2, Affine2, Rotation2, Translation2

sizes = st.integers(2, 9)


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@settings(max_examples=20, deadline=None)
@given(height=sizes, width=sizes, seed=st.integers(0, 1000))
def test_warp_is_affine_grid_and_grid_sample(height, width, seed):
    x = images(3, 2, height, width)
    theta = torch.randn(3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = F.grid_sample(
        x, F.affine_grid(theta, [3, 2, height, width], align_corners=True), align_corners=True
    )
    assert torch.allclose(warp(x, theta), expected, atol=1e-12)


@pytest.mark.parametrize("size", [(5, 8), (1, 6), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_identity_gives_the_images_back(size, dtype):
    x = images(2, 3, *size).to(dtype)
    found = warp(x, torch.eye(3).expand(2, 3, 3))
    assert found.dtype == dtype
    assert torch.allclose(found, x, atol=1e-6)


@pytest.mark.parametrize("turns", range(-3, 4))
def test_quarter_turns_are_exact(turns):
    x = images(2, 3, 6, 6)
    angle = torch.full((2,), turns * math.pi / 2, dtype=torch.float64)
    expected = torch.rot90(x, turns, (-2, -1))
    assert torch.allclose(rotate_images(x, angle), expected, atol=1e-12)
    # The left action turns the content by the element itself: clockwise on the screen, as y runs
    # down.
    assert torch.allclose(act_on_images(Rotation2().exp(-angle[:, None]), x), expected, atol=1e-12)


def test_the_mirror_exchanges_left_and_right():
    x = images(2, 3, 5, 6)
    mirror = E2().components[1].expand(2, 3, 3)
    assert torch.allclose(act_on_images(mirror, x), x.flip(-1), atol=1e-12)


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 2), (-2, 1)])
def test_whole_pixels_are_moved_exactly(right, down):
    x = images(1, 1, 7, 9)
    group = Translation2(translation_scale=1.0)
    element = group.exp(torch.tensor([[2 * right / 8, 2 * down / 6]], dtype=torch.float64))
    expected = torch.zeros_like(x)
    expected[..., max(down, 0) : 7 + min(down, 0), max(right, 0) : 9 + min(right, 0)] = x[
        ..., max(-down, 0) : 7 + min(-down, 0), max(-right, 0) : 9 + min(-right, 0)
    ]
    assert torch.allclose(act_on_images(element, x), expected, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_points_are_moved_by_a_homomorphism(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = Affine2(1.0).exp(
        torch.randn(2, 4, 6, dtype=torch.float64, generator=generator).clamp(-2, 2)
    )
    points = torch.randn(4, 5, 2, dtype=torch.float64, generator=generator)
    together = act_on_points(first @ second, points)
    scale = 1 + first.norm() * second.norm() * points.norm()
    assert (
        act_on_points(first, act_on_points(second, points)) - together
    ).abs().max() / scale < 1e-12
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], -1) @ first.transpose(
        -1, -2
    )
    assert (act_on_points(first, points) - homogeneous[..., :2]).abs().max() / scale < 1e-12


def test_images_are_moved_by_a_homomorphism():
    # Smooth, and zero near the border, where content that one map moves out of sight is lost for
    # the other.
    window = torch.hann_window(41, periodic=False, dtype=torch.float64)
    x = F.interpolate(
        images(1, 1, 4, 4), size=(41, 41), mode="bicubic", align_corners=True
    ) * window.outer(window)
    x = F.pad(x, (16, 16, 16, 16))
    turn, shift = (
        torch.tensor([[0.0, 0.0, 0.5]]).double(),
        torch.tensor([[1.0, -0.5, 0.0]]).double(),
    )
    first, second = E2(0.2).exp(turn), E2(0.2).exp(shift)
    twice = act_on_images(first, act_on_images(second, x))
    wrong_order = act_on_images(second @ first, x)
    error = (twice - act_on_images(first @ second, x)).abs().max()
    assert error < 0.02  # two interpolations instead of one
    assert (twice - wrong_order).abs().max() > 3 * error


def test_half_precision_under_autocast_keeps_the_grid():
    x = images(2, 1, 28, 28).float()
    matrices = Rotation2().exp(torch.tensor([[0.3], [-1.0]]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(warp(x, matrices), warp(x.clone(), matrices))
        found = warp(x, matrices)
    assert torch.equal(found, warp(x, matrices))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\[2, 1, 4, 4\] and \[3, 3, 3\]"):
        warp(images(2, 1, 4, 4), torch.eye(3).expand(3, 3, 3))
