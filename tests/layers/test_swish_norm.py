"""SwishNorm against nn.BatchNorm1d and plain operations: values, both derivatives, running
statistics, precision."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learnsym.layers.norms import SwishNorm


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pair(channels=5):
    """Ours and torch's, with the same weights."""
    ours, plain = SwishNorm(channels).double(), nn.BatchNorm1d(channels).double()
    with torch.no_grad():
        ours.weight.copy_(normal(channels, seed=8))
        ours.bias.copy_(normal(channels, seed=9))
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(2, 40),
    offset=st.sampled_from([0.0, 30.0]),
    seed=st.integers(0, 999),
    with_linear=st.booleans(),
)
def test_it_is_batch_norm_swish_and_a_linear_map(rows, offset, seed, with_linear):
    ours, plain = pair()
    linear = nn.Linear(5, 3).double() if with_linear else None
    twin = copy.deepcopy(linear) if with_linear else nn.Identity()
    for training in (True, True, False):
        x = (normal(rows, 5, seed=seed) * 2 + offset).requires_grad_()
        y = ours.train(training)(x, linear)
        expected = twin(F.silu(plain.train(training)(x)))
        torch.testing.assert_close(y, expected, atol=1e-9, rtol=1e-9)
        weights = normal(*y.shape, seed=seed + 1)
        found = torch.autograd.grad(
            (y * weights).sum(), [x, *ours.parameters(), *(linear.parameters() if linear else ())]
        )
        wanted = torch.autograd.grad(
            (expected * weights).sum(), [x, *plain.parameters(), *twin.parameters()]
        )
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-7)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_linear", [True, False])
def test_first_and_second_derivatives(training, with_linear):
    """Spectra of Hessians take the second; in float64, by differences."""
    ours, _ = pair(3)
    ours.train(training)
    linear = nn.Linear(3, 2).double() if with_linear else None

    def call(x, *tensors):
        names = [name for name, _ in nn.ModuleList([ours, linear]).named_parameters()]
        state = dict(zip(names, tensors, strict=True))
        return torch.func.functional_call(
            Called(ours, linear), {f"parts.{k}": v for k, v in state.items()}, (x,)
        )

    tensors = [
        p.detach().clone().requires_grad_() for p in nn.ModuleList([ours, linear]).parameters()
    ]
    inputs = [normal(4, 3).requires_grad_(), *tensors]
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


class Called(nn.Module):
    """Both as one module, for `functional_call`."""

    def __init__(self, norm, linear):
        super().__init__()
        self.parts = nn.ModuleList([norm, linear])

    def forward(self, x):
        return self.parts[0](x, self.parts[1])


def test_only_the_input_is_kept():
    """Of norm, swish and product, nothing as large as the rows but the rows themselves."""
    norm, linear = SwishNorm(50), nn.Linear(50, 7)
    x = torch.randn(40, 50, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        norm(x, linear)
    large = [t for t in kept if t.shape == x.shape]
    assert large
    assert all(t.data_ptr() == x.data_ptr() for t in large)


def test_half_precision_is_for_products_only():
    norm, linear = SwishNorm(4), nn.Linear(4, 3)
    x = torch.randn(16, 4)
    expected = copy.deepcopy(norm)(x, linear)
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x, linear)
        assert norm(x).dtype == torch.float32
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, atol=0.05, rtol=0.05)
    y.float().square().sum().backward()
    assert {p.grad.dtype for p in (*norm.parameters(), *linear.parameters())} == {torch.float32}


def test_one_row_has_no_variance():
    with pytest.raises(ValueError, match=r"at least 2 points .* got 1"):
        SwishNorm(3)(torch.zeros(1, 3))
    assert SwishNorm(3).eval()(torch.zeros(1, 3)).shape == (1, 3)
