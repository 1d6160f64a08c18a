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
    return split_exp(algebra.flatten(-2) @ split_map(algebra.device, algebra.dtype))


def split_exp(parts: Tensor) -> Tensor:
    """The same from s and the flat matrix [[N, t], [0, 0]] in one row, [..., 10], as `split_map` gives them."""
    return _Exp.apply(parts)[0]


class _Exp(torch.autograd.Function):
    """exp(A) = sum_m w_m Z_m + corner, with Z = (unit of the plane, Y, Y^2), Y = [[N, t], [0, 0]], Y^2 = [[q I, N t], [0, 0]].

    The weights w_m, one per column, are functions of s and q alone (`_Weights`). Written as one function with its adjoint, since
    a graph of these twenty small operations would take longer than warping the images.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(parts: Tensor) -> tuple[Tensor, ...]:
        unit, corner = _constants(parts.device, parts.dtype)
        rest = parts[..., 1:].unflatten(-1, (3, 3))
        square = rest @ rest
        weights, slopes = _Weights.forward(parts[..., 0], square[..., 0, 0], 0)
        basis = torch.stack([unit.expand_as(rest), rest, square], -3)
        elements = (weights.unflatten(-1, (3, 3)).squeeze(-3).unsqueeze(-2) * basis).sum(-3) + corner
        return elements, basis, weights, slopes

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(inputs[0], *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> Tensor | None:
        if grad is None:
            return None
        parts, basis, weights, slopes = ctx.saved_tensors
        rest = basis[..., 1, :, :]
        if torch.is_grad_enabled():  # somebody will differentiate the gradient: what was saved has forgotten where it came from
            rest = parts[..., 1:].unflatten(-1, (3, 3))
            basis = torch.stack([basis[..., 0, :, :], rest, rest @ rest], -3)
            weights, slopes = _Weights.apply(parts[..., 0], basis[..., 2, 0, 0], 0)
        of_weights = (grad.unsqueeze(-3) * basis).sum(-2).flatten(-2)
        of_s_and_q = (of_weights.unsqueeze(-2) * slopes).sum(-1)
        _, of_rest, of_square = (grad.unsqueeze(-3) * weights.reshape(*grad.shape[:-2], 3, 1, 3)).unbind(-3)
        of_square = of_square + of_s_and_q[..., 1, None, None] * _corner_of_q(grad.device, grad.dtype)
        turned = rest.transpose(-1, -2)
        of_rest = of_rest + of_square @ turned + turned @ of_square
        return torch.cat([of_s_and_q[..., :1], of_rest.flatten(-2)], -1)


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
    # cosh r = 1 + m^2 / 2 e^r, sinh r = (m + m / e^r) / 2 with m = e^r - 1: several times faster than torch.cosh and torch.sinh.
    above = torch.expm1(root)
    ratio = above / (above + 1)
    cosh, sinh = (above * ratio).mul_(0.5).add_(1), (above + ratio).mul_(0.5)
    found = [torch.where(grows, cosh, root.cos()), torch.where(grows, sinh, root.sin()).div_(root).mul_(0.5)]
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
def split_map(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The map [9, 10] from a flat A to s and the flat [[N, t], [0, 0]]."""
    split = np.zeros((9, 10))
    split[[0, 4], 0] = 0.5
    split[[0, 0, 4, 4], [1, 5, 1, 5]] = [0.5, -0.5, -0.5, 0.5]
    split[[1, 2, 3, 5], [2, 3, 4, 6]] = 1
    return torch.tensor(split, device=device, dtype=dtype)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _constants(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The unit matrix of the plane and the corner entry, [3, 3]."""
    return tuple(torch.tensor(m, device=device, dtype=dtype).diag() for m in ([1, 1, 0], [0, 0, 1]))


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _corner_of_q(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Where Y^2 has its entry q, [3, 3]."""
    return torch.tensor([1, 0, 0], device=device, dtype=dtype).diag()


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
