"""Compute the exponential of square matrices by a fixed number of squarings of exp(A) - 1.

    exp(A) - 1 = E_6,   E_0 = sum over i = 1, ..., 16 of (A / 2^6)^i / i!,   E_(j + 1) = 2 E_j +
    E_j^2

Without the identity every digit of a small E survives the squarings, so that one number of them
serves all matrices. The steps depend on no value: the host never waits for the device, as it does
where `torch.linalg.matrix_exp` sorts a batch by its norms.
"""

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_SQUARINGS = 6


def matrix_exp(matrices: Tensor) -> Tensor:
    """Return exp(A) for matrices [..., n, n], to rounding for |A| <= 64.

    Of affine maps only the norm of the linear part counts. Errors are relative to the largest
    entries. Differentiable any number of times.
    """
    # Half precision would not survive the squarings.
    with torch.autocast(matrices.device.type, enabled=False):
        return _MatrixExp.apply(matrices)


class _MatrixExp(torch.autograd.Function):
    """The series, differentiated by a series of twice the size, not product by product."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrices: Tensor) -> Tensor:
        return _series(matrices)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _derivative(ctx.saved_tensors[0].mT, grad)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _derivative(ctx.saved_tensors[0], tangent)


def _derivative(matrices: Tensor, direction: Tensor) -> Tensor:
    """Return d/dt exp(A + t D) at t = 0, [..., n, n]: the corner of exp [[A, D], [0, A]]."""
    n = matrices.shape[-1]
    upper = torch.cat([matrices, direction], -1)
    lower = F.pad(matrices, (n, 0))
    return matrix_exp(torch.cat([upper, lower], -2))[..., :n, n:]


def _series(matrices: Tensor) -> Tensor:
    """Return exp(A) [..., n, n] by the sum and the squarings above."""
    # 16 terms: at |A| = 2^6 the sum is off by 1 / 17!. Paterson and Stockmeyer: sum over j of
    # A^(4j) (A / (4j + 1)! + ... + A^4 / (4j + 4)!), by Horner's rule in A^4.
    a = matrices.movedim((-2, -1), (0, 1)) * 0.5**_SQUARINGS
    square = _product(a, a)
    powers = torch.stack([a, square, _product(square, a), _product(square, square)])
    weights = _inverse_factorials(a.device, a.dtype)
    *blocks, total = (weights @ powers.flatten(1)).unflatten(1, a.shape).unbind()
    for block in reversed(blocks):
        total = block + _product(powers[-1], total)
    for _ in range(_SQUARINGS):
        total = torch.add(_product(total, total), total, alpha=2)
    return total.movedim((0, 1), (-2, -1)) + torch.eye(len(a), device=a.device, dtype=a.dtype)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of matrices [n, n, ...], batch last: faster than a batched matmul."""
    return (a.unsqueeze(2) * b.unsqueeze(0)).sum(1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _inverse_factorials(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return 1 / (4j + i)! [4, 4] for blocks j = 0, ..., 3 and powers i = 1, ..., 4."""
    rows = [[1 / math.factorial(4 * j + i) for i in range(1, 5)] for j in range(4)]
    return torch.tensor(rows, dtype=torch.float64).to(device, dtype)
