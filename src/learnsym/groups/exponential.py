"""Exponentials of planar affine maps in closed form.

A = [[M, t], [0, 0]] with M = s I + N, N traceless, hence N^2 = q I with q = -det N:

    exp(M)  = e^s (c_0(q) I + c_1(q) N)
    exp(A)  = [[exp(M), phi(M) t], [0, 1]],    phi(M) = integral over tau in [0, 1] of exp(tau M)

with the Stumpff functions c_n(q) = sum_k q^k / (2k + n)!: c_0 = cosh(sqrt q), c_1 = sinh(sqrt q) / sqrt q, cos and sin for q < 0.
They are entire, so nothing here has a singular point: not the identity, not its derivatives of any order.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SERIES_BELOW = 1.0  # |q| under which the power series is summed instead of dividing by q
_TERMS = 10  # 1 / 20! = 4e-19: the series is exact to rounding for |q| <= 1


def stumpff(q: Tensor, order: int = 0) -> tuple[Tensor, Tensor]:
    """The Stumpff functions c_n(q) and c_(n+1)(q) for n = `order`, of q [...]; differentiable any number of times.

    >>> [round(c.item(), 4) for c in stumpff(torch.tensor(-1.0))]  # cos 1, sin 1
    [0.5403, 0.8415]
    """
    return _Stumpff.apply(q, order)


class _Stumpff(torch.autograd.Function):
    """c_n' = (c_(n+1) - n c_(n+2)) / 2, so each derivative is the same function again, two orders higher."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, order: int) -> tuple[Tensor, Tensor]:
        near = q.abs() < _SERIES_BELOW
        # Either branch sees only numbers on which it is exact; torch.where then never meets a nan.
        far = torch.where(near, _SERIES_BELOW, q)
        root = far.abs().sqrt()
        grows = far > 0
        first = torch.where(grows, root.cosh(), root.cos())
        second = torch.where(grows, root.sinh(), root.sin()) / root
        for n in range(order):  # c_(n+2) = (c_n - 1/n!) / q
            first, second = second, (first - 1 / math.factorial(n)) / far
        near_q = torch.where(near, q, 0.0)
        return torch.where(near, _series(near_q, order), first), torch.where(near, _series(near_q, order + 1), second)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        q, ctx.order = inputs
        ctx.save_for_backward(q, output[1])

    @staticmethod
    def backward(ctx: Any, grad_first: Tensor, grad_second: Tensor) -> tuple[Tensor, None]:
        q, second = ctx.saved_tensors
        n = ctx.order
        third, fourth = stumpff(q, n + 2)
        first_slope = second - n * third if n else second
        return 0.5 * (grad_first * first_slope + grad_second * (third - (n + 1) * fourth)), None


def _series(q: Tensor, order: int) -> Tensor:
    """c_n(q) as its power series (Horner), for |q| <= 1."""
    total = torch.full_like(q, 1 / math.factorial(2 * _TERMS - 2 + order))
    for k in reversed(range(_TERMS - 1)):
        total = total.mul_(q).add_(1 / math.factorial(2 * k + order))
    return total


def affine_exp(algebra: Tensor) -> Tensor:
    """exp of [[M, t], [0, 0]] [..., 3, 3] for any 2x2 matrix M and shift t: [..., 3, 3].

    The integral phi(M) is a Gauss-Legendre sum over 16 nodes, exact to rounding (float64) for |M| <= 20.
    """
    split, tau, even, odd = _tables(algebra.device, algebra.dtype)
    scale, parts = (algebra.flatten(-2) @ split).split((1, 6), dim=-1)
    parts = parts.unflatten(-1, (2, 3))  # [N | t]
    traceless, shift = parts[..., :2], parts[..., 2:]
    q = (traceless[..., 0, :] * traceless[..., :, 0]).sum(-1, keepdim=True)  # the upper left entry of N^2
    cosine, sine = stumpff(q * tau.square())
    growth = torch.exp(scale * tau)
    along = (growth * cosine) @ even  # weight of [I | t] per column
    across = (growth * sine) @ odd  # weight of [N | N t] per column
    unit = torch.eye(2, device=algebra.device, dtype=algebra.dtype).expand_as(traceless)
    rows = along.unsqueeze(-2) * torch.cat([unit, shift], -1)
    rows = rows + across.unsqueeze(-2) * torch.cat([traceless, traceless @ shift], -1)
    return with_last_row(rows)


def rotation_exp(angle: Tensor) -> Tensor:
    """[[cos, -sin], [sin, cos]] [..., 2, 2] of angles [...] in radians."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))


def motion_exp(angle: Tensor, shift: Tensor) -> Tensor:
    """exp of a planar motion: rotation by `angle` [...] and V(angle) shift [..., 2], as [..., 3, 3]; V as in `turning_mean`."""
    return with_last_row(torch.cat([rotation_exp(angle), turning_mean(angle) @ shift.unsqueeze(-1)], -1))


def turning_mean(angle: Tensor) -> Tensor:
    """V(a) = integral over tau in [0, 1] of R(tau a) = [[sin a, cos a - 1], [1 - cos a, sin a]] / a, [..., 2, 2]; V(0) = 1."""
    along, half = stumpff(-angle * angle, 1)  # sin a / a and (1 - cos a) / a^2
    across = angle * half
    return torch.stack([along, -across, across, along], -1).unflatten(-1, (2, 2))


def with_last_row(rows: Tensor) -> Tensor:
    """[..., d, d + 1] -> [..., d + 1, d + 1] with the last row (0, ..., 0, 1) of homogeneous coordinates."""
    last = torch.zeros_like(rows[..., :1, :])
    last[..., -1] = 1
    return torch.cat([rows, last], -2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _tables(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Constants of `affine_exp`: the map from a flat A to (s, [N | t]), and nodes and weights, the last node being tau = 1."""
    split = np.zeros((9, 7))
    split[[0, 4], 0] = 0.5
    split[[0, 0, 4, 4], [1, 5, 1, 5]] = [0.5, -0.5, -0.5, 0.5]
    split[[1, 2, 3, 5], [2, 3, 4, 6]] = 1
    nodes, weights = np.polynomial.legendre.leggauss(16)
    tau = np.append((nodes + 1) / 2, 1.0)
    even = np.zeros((17, 3))
    even[-1, :2] = 1  # the linear part is the value at tau = 1,
    even[:-1, 2] = weights / 2  # the shift the integral
    tables = (split, tau, even, tau[:, None] * even)
    return tuple(torch.as_tensor(t, dtype=torch.float64).to(device=device, dtype=dtype) for t in tables)
