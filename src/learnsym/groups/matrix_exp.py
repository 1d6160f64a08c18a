"""The exponential of square matrices in a fixed number of steps: scaling and squaring of exp(A) -
1.

    exp(A) - 1 = E_6,   E_0 = sum over i = 1, ..., 16 of (A / 2^6)^i / i!,   E_(j + 1) = 2 E_j +
    E_j^2

Without the identity every digit of a small E lives through the squarings, so that one number of
them serves all matrices. Which steps are taken depends on no number: the host never waits for the
device, as it does where `torch.linalg.matrix_exp` sorts a batch by its norms.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

SQUARINGS = 6


def squaring_exp(algebra: Tensor) -> Tensor:
    """exp(A): [..., n, n] -> [..., n, n], to rounding for |A| <= 2^6 = 64; of affine maps only the
    linear part counts.

    As with any such algorithm, errors are relative to the largest entries. Differentiable any
    number of times.
    """
    with torch.autocast(
        algebra.device.type, enabled=False
    ):  # half precision would not survive the squarings
        return _Exp.apply(algebra)


class _Exp(torch.autograd.Function):
    """exp(A); its derivative is an exponential of its own, which can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(algebra: Tensor) -> Tensor:
        return _steps(algebra)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _derivative(ctx.saved_tensors[0].transpose(-1, -2), grad)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _derivative(ctx.saved_tensors[0], tangent)


def _derivative(algebra: Tensor, along: Tensor) -> Tensor:
    """d/dh exp(A + h D) at h = 0, the upper right block of exp [[A, D], [0, A]] (Van Loan 1978):
    [..., n, n].
    """
    n = algebra.shape[-1]
    upper, lower = (
        torch.cat([algebra, along], -1),
        torch.cat([torch.zeros_like(along), algebra], -1),
    )
    return squaring_exp(torch.cat([upper, lower], -2))[..., :n, n:]


def _steps(algebra: Tensor) -> Tensor:
    """The sum of 16 terms, which at |A| = 2^6 is off by 1 / 17!, and the squarings."""
    a = algebra * 0.5**SQUARINGS
    second = a @ a
    powers = torch.stack([a, second, second @ a, second @ second])
    # Paterson and Stockmeyer: sum over j of A^(4j) (A / (4j + 1)! + ... + A^4 / (4j + 4)!), by
    # Horner's rule in A^4.
    *blocks, found = (_factorials(a.device, a.dtype) @ powers.flatten(1)).view_as(powers).unbind()
    for block in reversed(blocks):
        found = block + powers[-1] @ found
    for _ in range(SQUARINGS):
        found = torch.add(found @ found, found, alpha=2)
    return found + torch.eye(a.shape[-1], device=a.device, dtype=a.dtype)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _factorials(device: torch.device, dtype: torch.dtype) -> Tensor:
    """1 / (4j + i)! [4, 4] for block j = 0, ..., 3 (rows) and the powers i = 1, ..., 4
    (columns).
    """
    rows = [[1 / math.factorial(4 * j + i) for i in range(1, 5)] for j in range(4)]
    return torch.tensor(rows, dtype=torch.float64).to(device, dtype)
