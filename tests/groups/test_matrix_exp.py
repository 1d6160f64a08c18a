"""The exponential by a fixed number of squarings: its range, and its derivative in forward mode."""

import pytest
import torch
from torch.autograd import forward_ad

from learnsym.groups.matrix_exp import matrix_exp


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def relative(found: torch.Tensor, expected: torch.Tensor, floor: float = 1e-30) -> float:
    """Largest relative error over a batch, each example by its own norm."""
    found, expected = found.detach().double().flatten(1), expected.detach().flatten(1)
    return ((found - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=floor)).max().item()


def test_large_matrices_and_long_translations():
    """Up to the stated norm; a translation, however long, does not count: exp is linear in it."""
    a = normal(32, 3, 3)
    a = a / torch.linalg.matrix_norm(a, 2)[:, None, None] * torch.linspace(1, 60, 32)[:, None, None]
    a = torch.nn.functional.pad(a, (0, 1, 0, 1))
    a[:, :3, 3] = normal(32, 3, seed=1)
    expected = torch.linalg.matrix_exp(a)
    assert relative(matrix_exp(a), expected) < 1e-12
    a[:, :3, 3] *= 1e6
    expected[:, :3, 3] *= 1e6
    assert relative(matrix_exp(a), expected) < 1e-12
    assert relative(matrix_exp(normal(8, 6, 6)), torch.linalg.matrix_exp(normal(8, 6, 6))) < 1e-13


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script:FutureWarning"
)  # torch's own, when forward mode is first used
def test_forward_derivatives():
    a, along, direction = (
        normal(2, 4, 4).requires_grad_(),
        normal(2, 4, 4, seed=1),
        normal(2, 4, 4, seed=2),
    )
    (gradient,) = torch.autograd.grad((matrix_exp(a) * direction).sum(), a)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(
            matrix_exp(forward_ad.make_dual(a.detach(), along))
        ).tangent
    assert (tangent * direction).sum().item() == pytest.approx(
        (gradient * along).sum().item(), rel=1e-12
    )
