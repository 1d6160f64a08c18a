"""Exponentials of planar affine maps in closed form.

A = [[M, t], [0, 0]] with M = s I + N, N traceless, hence N^2 = q I with q = -det N:

    exp(M) = e^s (c(q) I + 2 c'(q) N),    c(q) = cosh(sqrt q), that is cos(sqrt -q) for q < 0
    exp(A) = [[exp(M), phi(M) t], [0, 1]],    phi(M) = integral over tau in [0, 1] of exp(tau M)

c is entire, c(q) = sum_k q^k / (2k)!, so nothing here has a singular point: not the identity, not a derivative of any order.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NODES = 16


def affine_exp(algebra: Tensor) -> Tensor:
    """exp of [[M, t], [0, 0]] [..., 3, 3] for any 2x2 matrix M and shift t: [..., 3, 3].

    The integral phi(M) is a Gauss-Legendre sum over 16 nodes, exact to rounding (float64) for |M| <= 20.
    """
    split, unit, corner = _constants(algebra.device, algebra.dtype)
    scale, rest = (algebra.flatten(-2) @ split).split((1, 9), dim=-1)
    rest = rest.unflatten(-1, (3, 3))  # [[N, t], [0, 0]], and its square is [[q I, N t], [0, 0]]
    square = rest @ rest
    weights, _ = _Weights.apply(scale.squeeze(-1), square[..., 0, 0], 0)
    of_unit, of_rest, of_square = weights.unflatten(-1, (3, 1, 3)).squeeze(-4).unbind(-3)
    return corner.addcmul(of_unit, unit).addcmul(of_rest, rest).addcmul(of_square, square)


class _Weights(torch.autograd.Function):
    """The numbers of s and q that exp(A) is made of, and all their derivatives.

    (s [...], q [...], order n) -> [..., n + 1, 9] and [..., n + 2, 9]: the mixed derivatives of order n and n + 1, the ones with
    respect to s first, of three rows of weights, one weight per column of exp(A):

        of [[I, 0], [0, 0]]     e^s c(q),     e^s c(q),     0
        of [[N, t], [0, 0]]     e^s 2 c'(q),  e^s 2 c'(q),  integral of e^(s tau) c(q tau^2)
        of its square           0,            0,            integral of e^(s tau) 2 tau c'(q tau^2)

    The derivatives of order n + 1 are an output so that the backward pass has them at hand and can itself be differentiated.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(s: Tensor, q: Tensor, order: int) -> tuple[Tensor, Tensor]:
        tau, tau_squared, table = _quadrature(order, q.device, q.dtype)
        growth = torch.exp(s.unsqueeze(-1) * tau)
        values = torch.stack(_cosh_root(q.unsqueeze(-1) * tau_squared, order + 2), dim=-2) * growth.unsqueeze(-2)
        weights = (values.flatten(-2) @ table).unflatten(-1, (2 * order + 3, 9))
        return weights[..., : order + 1, :], weights[..., order + 1 :, :]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        s, q, ctx.order = inputs
        ctx.save_for_backward(s, q, output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_next: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        s, q, derivatives = ctx.saved_tensors
        terms = [] if grad is None else [(grad, derivatives)]
        if grad_next is not None:
            terms.append((grad_next, _Weights.apply(s, q, ctx.order + 1)[1]))
        if not terms:
            return None, None, None
        along_s = sum((g * d[..., :-1, :]).sum((-2, -1)) for g, d in terms)
        along_q = sum((g * d[..., 1:, :]).sum((-2, -1)) for g, d in terms)
        return along_s, along_q, None


def _cosh_root(q: Tensor, order: int) -> list[Tensor]:
    """c(q) = cosh(sqrt q) and its derivatives up to `order` >= 1, from 4 q c'' + 2 c' - c = 0; near 0 as power series."""
    root = q.abs().clamp(min=1e-30).sqrt_()
    grows = q > 0
    found = [torch.where(grows, root.cosh(), root.cos()), torch.where(grows, root.sinh(), root.sin()).div_(root).mul_(0.5)]
    near = q.abs() < 1
    safe = torch.where(near, 0.25, 0.25 / q)
    for n in range(order - 1):
        far = (found[n] - (4 * n + 2) * found[n + 1]) * safe
        found.append(torch.where(near, _series(q, n + 2), far))
    return found


def _series(q: Tensor, order: int) -> Tensor:
    """The derivative of c of the given order, sum_k k! / (k - order)! q^(k - order) / (2k)!, to rounding for |q| <= 1."""
    terms = [math.perm(k, order) / math.factorial(2 * k) for k in range(order, order + (9 if q.dtype == torch.float64 else 6))]
    total = q * terms[-1]
    for term in reversed(terms[1:-1]):
        total = total.add_(term).mul_(q)
    return total.add_(terms[0])


def rotation_exp(angle: Tensor) -> Tensor:
    """[[cos, -sin], [sin, cos]] [..., 2, 2] of angles [...] in radians."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))


def turning_mean(angle: Tensor) -> Tensor:
    """V(a) = integral over tau in [0, 1] of R(tau a) = [[sin a, cos a - 1], [1 - cos a, sin a]] / a, [..., 2, 2]; V(0) = 1."""
    half = 0.5 * angle
    # V(a) = sin(a / 2) / (a / 2) R(a / 2), and sin h / h = 2 c'(-h^2)
    shrink = _Weights.apply(torch.zeros_like(half), -half * half, 0)[0][..., 0, 3, None, None]
    return shrink * rotation_exp(half)


def with_last_row(rows: Tensor) -> Tensor:
    """[..., d, d + 1] -> [..., d + 1, d + 1] with the last row (0, ..., 0, 1) of homogeneous coordinates."""
    last = torch.zeros_like(rows[..., :1, :])
    last[..., -1] = 1
    return torch.cat([rows, last], -2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _constants(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The map [9, 10] from a flat A to s and the flat [[N, t], [0, 0]]; the unit matrix of the plane; the corner entry."""
    split = np.zeros((9, 10))
    split[[0, 4], 0] = 0.5
    split[[0, 0, 4, 4], [1, 5, 1, 5]] = [0.5, -0.5, -0.5, 0.5]
    split[[1, 2, 3, 5], [2, 3, 4, 6]] = 1
    return tuple(torch.tensor(m, device=device, dtype=dtype) for m in (split, np.diag([1.0, 1, 0]), np.diag([0.0, 0, 1])))


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _quadrature(order: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes tau [17] (the last is 1), their squares, and the sums [(order + 3) * 17, (2 order + 3) * 9] of `_Weights`.

    d^a/ds^a d^b/dq^b of e^(s tau) c(q tau^2) is e^(s tau) tau^(a + 2b) c^(b)(q tau^2), and likewise with 2 tau c' for c.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    tau = np.append((nodes + 1) / 2, 1.0)
    integral, end = np.append(weights / 2, 0.0), np.append(np.zeros(_NODES), 1.0)
    table = np.zeros((order + 3, _NODES + 1, 2 * order + 3, 9))
    powers = [(n - b, b) for n in (order, order + 1) for b in range(n + 1)]
    for place, (a, b) in enumerate(powers):
        even = tau ** (a + 2 * b)
        table[b, :, place, [0, 1]] = end * even
        table[b, :, place, 5] = integral * even
        table[b + 1, :, place, [3, 4]] = 2 * end * even
        table[b + 1, :, place, 8] = 2 * integral * even * tau
    table = table.reshape((order + 3) * (_NODES + 1), -1)
    return tuple(torch.tensor(m, device=device, dtype=dtype) for m in (tau, tau**2, table))
