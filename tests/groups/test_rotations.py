"""Rotations of space: Stumpff functions, logarithms close to 0 and to pi, quaternions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnsym.groups import rotations

seeds = st.integers(0, 2**31)
quick = settings(max_examples=10, deadline=None)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def turns(angle: float, count: int = 32, seed: int = 0) -> torch.Tensor:
    """Vectors [count, 3] of length `angle`: in all directions, and along and between the axes."""
    axes = torch.tensor(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, -1, 1], [1, -1, 1]], dtype=torch.float64
    )
    found = torch.cat([normal(count, 3, seed=seed), axes, -axes])
    return angle * found / found.norm(dim=-1, keepdim=True)


def relative(found: torch.Tensor, expected: torch.Tensor, floor: float = 1e-30) -> float:
    """Largest relative error over a batch, each example by its own norm."""
    found, expected = found.detach().double().flatten(1), expected.detach().flatten(1)
    return ((found - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=floor)).max().item()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_stumpff_functions(dtype):
    """c_0 = cos theta, c_1 = sin theta / theta, and c_k + s c_(k+2) = 1 / k!, against sums with
    many terms."""
    s = torch.cat(
        [torch.zeros(1), torch.logspace(-20, 1.5, 200), torch.tensor([1 - 1e-7, 1.0, 1 + 1e-7])]
    ).double()
    found = torch.stack(rotations.stumpff(s.to(dtype))).double()
    expected = torch.stack([
        sum((-s) ** j / float(math.factorial(2 * j + k)) for j in range(40)) for k in range(5)
    ])  # fmt: skip
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert (found - expected).abs().max() < tolerance
    small = s < 1
    assert ((found - expected) / expected)[:, small].abs().max() < (
        1e-15 if dtype == torch.float64 else 1e-6
    )


@quick
@given(exponent=st.floats(-300, math.log10(math.pi) - 1e-9), seed=seeds)
def test_log_keeps_the_digits_of_any_angle(exponent, seed):
    u = turns(10.0**exponent, seed=seed)
    assert relative(rotations.rotation_log(rotations.rotation_exp(u)), u, floor=1e-300) < 1e-12


@pytest.mark.parametrize("below", [0.0, 1e-14, 1e-9, 1e-6, 1e-3])
def test_close_to_pi_the_axis_is_accurate_and_gradients_are_finite(below):
    u = turns(math.pi - below)
    r = rotations.rotation_exp(u).requires_grad_()
    found = rotations.rotation_log(r)
    signs = torch.tensor(
        [1.0, -1.0] if below < 1e-9 else [1.0]
    )  # which of the two it is, rounding decides
    error = (found - signs[:, None, None] * u).norm(dim=-1).amin(0)
    assert error.max() < 5e-14
    (gradient,) = torch.autograd.grad(found.sum(), r)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 10


def test_the_left_jacobian_and_its_inverse():
    u = torch.cat([turns(angle) for angle in (0.0, 1e-9, 1e-3, 1 - 1e-9, 1.0, 2.0, math.pi, 5.0)])
    nodes, weights = (
        torch.from_numpy(a)[:, None, None] / 2 for a in np.polynomial.legendre.leggauss(20)
    )
    mean = (weights.unsqueeze(-1) * rotations.rotation_exp((nodes + 0.5) * u)).sum(0)
    columns = [rotations.motion_exp(u, e.expand_as(u))[1] for e in torch.eye(3).double()]
    jacobian = torch.stack(columns, -1)
    assert torch.allclose(jacobian, mean, atol=1e-14)
    product = jacobian @ rotations.inverse_left_jacobian(u)
    assert torch.allclose(product, torch.eye(3, dtype=torch.float64).expand_as(product), atol=1e-13)


@quick
@given(seed=seeds)
def test_quaternions(seed):
    q = normal(64, 4, seed=seed)
    q[:4] = torch.eye(4)
    r = rotations.quaternion_rotations(q)
    assert torch.allclose(r @ r.mT, torch.eye(3, dtype=torch.float64).expand_as(r), atol=1e-14)
    assert torch.allclose(torch.linalg.det(r), torch.ones(64, dtype=torch.float64))
    found = rotations.rotation_quaternions(r)
    assert (found[:, 0] >= 0).all()
    assert ((found * q).sum(-1).abs() / q.norm(dim=-1) - 1).abs().max() < 1e-14
    assert torch.allclose(rotations.quaternion_rotations(found), r, atol=1e-14)
    assert torch.allclose(rotations.rotation_exp(rotations.rotation_log(r)), r, atol=1e-13)


def test_normal_quaternions_are_uniform_rotations():
    """By Haar's measure E R = 0, E R_ij^2 = 1/3, and the angle has density (1 - cos a) / pi: its
    mean is pi / 2 + 2 / pi."""
    r = rotations.quaternion_rotations(normal(20000, 4))
    assert r.mean(0).abs().max() < 0.02
    assert (r.square().mean(0) - 1 / 3).abs().max() < 0.02
    assert rotations.rotation_log(r).norm(dim=-1).mean().item() == pytest.approx(
        math.pi / 2 + 2 / math.pi, abs=0.02
    )


def test_three_uniform_numbers_give_rotations_by_haars_measure():
    """Moments of first and second order, and the distribution of the angle, with density (1 - cos
    t) / pi."""
    count = 40_000
    found = rotations.uniform_rotations(
        torch.rand(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    assert (found @ found.mT - torch.eye(3)).abs().max() < 1e-14
    assert torch.linalg.det(found).min() > 0.999
    entries = found.flatten(1)
    assert entries.mean(0).abs().max() < 5 / (3 * count) ** 0.5
    torch.testing.assert_close(
        entries.T @ entries / count, torch.eye(9).double() / 3, atol=0.012, rtol=0
    )
    angles = ((found.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).acos()
    for t in (0.5, 1.0, 2.0, 3.0):
        assert float((angles < t).double().mean()) == pytest.approx(
            (t - math.sin(t)) / math.pi, abs=5 * 0.5 / count**0.5
        )
