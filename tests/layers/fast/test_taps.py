"""From taps to dense weights and back, against index_copy."""

import pytest
import torch

from learnsym.layers.continuous_conv import disc_taps
from learnsym.layers.fast.taps import scatter, tap_runs


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_runs_cover_the_taps_once(size):
    taps = disc_taps(size)[0].tolist()
    covered = [
        (place, tap + place - start)
        for start, stop, tap in tap_runs(taps)
        for place in range(start, stop)
    ]
    assert covered == [(place, tap) for tap, place in enumerate(taps)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_scatter_is_a_permutation_and_an_index_copy(dtype):
    torch.manual_seed(0)
    taps = disc_taps(5)[0]
    leaf = torch.randn(2, 3, 4, 2, len(taps), dtype=torch.float64, requires_grad=True)
    values = leaf.transpose(1, 2)  # as a kernel comes: a view
    found = scatter(values, tap_runs(taps.tolist()), 25, dtype)
    expected = (
        torch.zeros(2, 4, 3, 2, 25, dtype=torch.float64).index_copy(4, taps, values).to(dtype)
    )
    assert found.is_contiguous()
    assert found.equal(expected)
    gradient = torch.randn(expected.shape).to(dtype)
    (of_found,) = torch.autograd.grad(found, leaf, gradient)
    torch.testing.assert_close(of_found, gradient.double()[..., taps].transpose(1, 2))


def test_it_is_differentiable_twice():
    runs = tap_runs(disc_taps(3)[0].tolist())
    values = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: scatter(v, runs, 9, torch.float64).sin(), values)
    assert torch.autograd.gradgradcheck(lambda v: scatter(v, runs, 9, torch.float64).sin(), values)
    columns = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda v: scatter(v.T, runs, 9, torch.float64).sin(), columns
    )
