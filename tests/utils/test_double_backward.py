"""The warp that can be differentiated twice: the same values and gradients as the fast one, and
right second derivatives."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from learnsym.groups.actions import sample_bilinear, warp
from learnsym.groups.planar import Affine2
from learnsym.layers.fast.batched_mlp import batched_mlp
from learnsym.utils.double_backward import double_backward_enabled, enable_double_backward


def example(count: int, height: int, width: int, dtype: torch.dtype, spread: float = 1.0):
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(count, 2, height, width, generator=draw, dtype=dtype)
    u = (torch.rand(count, 6, generator=draw, dtype=dtype) - 0.5) * spread
    return images, u


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 5), (1, 4), (1, 1)])
@pytest.mark.parametrize("spread", [0.0, 1.0, 8.0], ids=["identity", "some", "far outside"])
def test_values_and_gradients_are_those_of_the_fast_warp(dtype, height, width, spread) -> None:
    images, u = example(6, height, width, dtype, spread)
    images.requires_grad_()
    found = []
    for plainly in (False, True):
        matrices = Affine2().exp(u).detach().requires_grad_()
        if plainly:
            with enable_double_backward():
                out = warp(images, matrices)
        else:
            out = warp(images, matrices)
        weights = torch.arange(out.numel(), dtype=dtype).view_as(out).cos()
        found.append((out, *torch.autograd.grad((out * weights).sum(), [images, matrices])))
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    for fast, plain, factor in zip(*found, (1, 10, 100), strict=True):
        torch.testing.assert_close(plain, fast, rtol=factor * tolerance, atol=factor * tolerance)


def test_derivatives_of_both_orders() -> None:
    images, u = example(2, 5, 4, torch.float64)
    images, u = images.requires_grad_(), u.requires_grad_()

    def moved(images: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        with enable_double_backward():
            return warp(images, Affine2().exp(u))

    assert gradcheck(moved, (images, u), eps=1e-7, atol=1e-5)
    assert gradgradcheck(moved, (images, u), eps=1e-7, atol=1e-5)


def test_pixels_that_are_not_numbers_stay_where_they_are() -> None:
    """An image next to another in the batch, or a coordinate that has overflowed, spoils nothing
    else."""
    images = torch.ones(2, 1, 3, 3)
    grid = torch.zeros(2, 1, 1, 2)
    grid[0] = float("inf")
    out = sample_bilinear(images, grid)
    assert out[1].item() == 1


def test_the_context_ends() -> None:
    assert not differentiate_twice().any(), (
        "what is differentiable once loses its part, and nobody says so"
    )
    with enable_double_backward():
        assert differentiate_twice().any()
    assert not double_backward_enabled()
    with pytest.raises(KeyError), enable_double_backward():
        raise KeyError
    assert not double_backward_enabled()


def differentiate_twice() -> torch.Tensor:
    torch.manual_seed(0)
    x, weight = torch.randn(1, 2, 3), torch.randn(1, 4, 3, requires_grad=True)
    out = batched_mlp(x, [weight, torch.randn(1, 2, 4)], 0.1)
    (slope,) = torch.autograd.grad(out.square().sum(), weight, create_graph=True)
    return torch.autograd.grad(slope.sum(), weight, materialize_grads=True)[0]
