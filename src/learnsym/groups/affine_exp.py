"""Exponentials of planar affine maps in closed form.

A = [[M, t], [0, 0]] with M = s I + N, N traceless, hence N^2 = q I with q = -det N:

    exp(M) = e^s (c(q) I + 2 c'(q) N),    c(q) = cosh(sqrt q), that is cos(sqrt -q) for q < 0
    exp(A) = [[exp(M), phi(M) t], [0, 1]],    phi(M) = integral over tau in [0, 1] of exp(tau M)

c is entire, c(q) = sum_k q^k / (2k)!, so nothing here has a singular point: not the identity, not a
derivative of any order.

The formulas are written once for two engines, torch and NumPy, entry by entry. In host memory NumPy
does them, and the backward
pass: they are some eighty operations on a few hundred numbers, and a call costs NumPy a third of
what it costs torch.
"""

import math
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = Tensor | np.ndarray

_NODES = {"float64": 16, "float32": 10}
"""Nodes of the quadrature: exact to rounding for |M| <= 20 in float64, for |M| <= 13 in float32."""


def affine_exp(algebra: Tensor) -> Tensor:
    """Exp of [[M, t], [0, 0]] [..., 3, 3] for any 2x2 matrix M and shift t: [..., 3, 3].

    The integral phi(M) is a Gauss-Legendre sum, exact to rounding for |M| <= 20 (in float32: 13).
    """
    if algebra.device.type == "cpu" and not torch._C._are_functorch_transforms_active():
        return _HostExp.apply(algebra)
    return _differentiable_exp(algebra)


def _differentiable_exp(algebra: Tensor) -> Tensor:
    """The exponential in torch, differentiable any number of times."""
    entries = _split(algebra)
    return _assemble(entries, _Weights.apply(entries.s, entries.q, 0)[0][0], torch)


class _HostExp(torch.autograd.Function):
    """The same in host memory, forward and backward in NumPy."""

    @staticmethod
    def forward(ctx: Any, algebra: Tensor) -> Tensor:
        with np.errstate(all="ignore"):  # as torch: a branch that is not taken may overflow
            entries = _split(algebra.detach().numpy())
            (weights,), slopes = _weights(entries.s, entries.q, 0, np)
            ctx.save_for_backward(algebra)
            ctx.entries, ctx.weights, ctx.slopes = entries, weights, slopes
            return torch.from_numpy(_assemble(entries, weights, np))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (algebra,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated itself
            return torch.autograd.grad(
                _differentiable_exp(algebra), algebra, grad, create_graph=True
            )[0]
        return torch.from_numpy(_adjoint(grad.numpy(), ctx.entries, ctx.weights, ctx.slopes))


class _Entries(NamedTuple):
    """A = [[s + p, b, x], [c, s - p, y], [0, 0, 0]], q = p^2 + b c, and N t = (n_x, n_y): arrays of
    the batch's shape.
    """

    s: Array
    p: Array
    b: Array
    c: Array
    x: Array
    y: Array
    q: Array
    n_x: Array
    n_y: Array


def _split(algebra: Array) -> _Entries:
    """The entries of A [..., 3, 3]."""
    first, b, x = (algebra[..., 0, i] for i in range(3))
    c, last, y = (algebra[..., 1, i] for i in range(3))
    s, p = 0.5 * (first + last), 0.5 * (first - last)
    return _Entries(s, p, b, c, x, y, p * p + b * c, p * x + b * y, c * x - p * y)


def _assemble(a: _Entries, weights: Array, xp: ModuleType) -> Array:
    """exp(A) [..., 3, 3] from the four weights [4, ...] of I and N in exp(M) and in phi(M)."""
    even, odd, shift, turned = weights
    one_way = odd * a.p
    zero = xp.zeros_like(one_way)
    rows = [
        *(even + one_way, odd * a.b, shift * a.x + turned * a.n_x),
        *(odd * a.c, even - one_way, shift * a.y + turned * a.n_y),
        *(zero, zero, zero + 1),
    ]
    # Entry by entry in memory too: a product of all matrices with one constant then has a backward
    # pass of half the time.
    return xp.moveaxis(xp.stack(rows).reshape(3, 3, *zero.shape), (0, 1), (-2, -1))


def _adjoint(grad: np.ndarray, a: _Entries, weights: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """The gradient with respect to A [..., 3, 3], from the one with respect to exp(A); slopes are d
    weights / d (s, q).
    """
    first, of_b, g_x = (grad[..., 0, i] for i in range(3))
    of_c, last, g_y = (grad[..., 1, i] for i in range(3))
    _, odd, shift, turned = weights
    along = first - last
    of_weights = np.stack([
        first + last,
        a.p * along + a.b * of_b + a.c * of_c,
        a.x * g_x + a.y * g_y,
        a.n_x * g_x + a.n_y * g_y,
    ])  # fmt: skip
    half_s, of_q = (slopes * of_weights).sum(1)
    half_s = 0.5 * half_s
    h_x, h_y = turned * g_x, turned * g_y
    half_p = 0.5 * (odd * along + a.x * h_x - a.y * h_y) + a.p * of_q
    zero = np.zeros_like(half_s)
    rows = [
        *(
            half_s + half_p,
            odd * of_b + a.y * h_x + a.c * of_q,
            shift * g_x + a.p * h_x + a.c * h_y,
        ),
        *(
            odd * of_c + a.x * h_y + a.b * of_q,
            half_s - half_p,
            shift * g_y + a.b * h_x - a.p * h_y,
        ),
        *(zero, zero, zero),
    ]
    return np.stack(rows, -1).reshape(grad.shape)


class _Weights(torch.autograd.Function):
    """`_weights`, differentiable any number of times: the derivatives of the next order are an
    output of its own.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(s: Tensor, q: Tensor, order: int) -> tuple[Tensor, Tensor]:
        return _weights(s, q, order, torch)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, int], output: tuple[Tensor, Tensor]
    ) -> None:
        s, q, ctx.order = inputs
        ctx.save_for_backward(s, q, output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor | None, grad_next: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None]:
        s, q, derivatives = ctx.saved_tensors
        terms = [] if grad is None else [(grad, derivatives)]
        if grad_next is not None:
            terms.append((grad_next, _Weights.apply(s, q, ctx.order + 1)[1]))
        if not terms:
            return None, None, None
        along_s = sum((g * d[:-1]).sum((0, 1)) for g, d in terms)
        along_q = sum((g * d[1:]).sum((0, 1)) for g, d in terms)
        return along_s, along_q, None


def _weights(s: Array, q: Array, order: int, xp: ModuleType) -> tuple[Array, Array]:
    """The numbers of s and q that exp(A) is made of, and their derivatives.

    (s [...], q [...], order n) -> [n + 1, 4, ...] and [n + 2, 4, ...]: the mixed derivatives of
    order n and n + 1, the ones with respect to s first, of the four weights

        of I and N in exp(M):     e^s c(q),                         e^s 2 c'(q)
        of I and N in phi(M):     integral of e^(s tau) c(q tau^2),  integral of e^(s tau) 2 tau
        c'(q tau^2)
    """
    tau, tau_squared, table = _quadrature(order, *_kind(q))
    nodes = (-1, *(1 for _ in q.shape))
    tau, tau_squared = tau.reshape(nodes), tau_squared.reshape(nodes)
    values = xp.stack(_cosh_root(q * tau_squared, order + 2, xp)) * xp.exp(s * tau)
    weights = (table @ values.reshape(table.shape[1], -1)).reshape(2 * order + 3, 4, *q.shape)
    return weights[: order + 1], weights[order + 1 :]


def _cosh_root(q: Array, order: int, xp: ModuleType) -> list[Array]:
    """c(q) = cosh(sqrt q) and its derivatives up to `order` >= 1, from 4 q c'' + 2 c' - c = 0; near
    0 as power series.
    """
    size = xp.abs(q)
    root = xp.sqrt(size + 1e-30)
    grows, near = q > 0, size < 1
    # cosh r = 1 + m^2 / (2 e^r), sinh r = (m + m / e^r) / 2 with m = e^r - 1: several times faster
    # than cosh and sinh.
    half = 0.5 * xp.expm1(root)
    ratio = half / (half + 0.5)
    found = [
        xp.where(grows, 1 + half * ratio, xp.cos(root)),
        xp.where(grows, half + 0.5 * ratio, xp.sin(root)) / (root + root),
    ]
    inverse = 0.25 / q
    for n in range(order - 1):
        far = (found[n] - (4 * n + 2) * found[n + 1]) * inverse
        found.append(xp.where(near, _series(q, n + 2), far))
    return found


def _series(q: Array, order: int) -> Array:
    """The derivative of c of the given order, sum_k k! / (k - order)! q^(k - order) / (2k)!, to
    rounding for |q| <= 1.
    """
    terms = _coefficients(order, 9 if q.dtype in (torch.float64, np.float64) else 6)
    total = q * terms[-1]
    for term in terms[-2:0:-1]:
        total += term
        total *= q
    return total + terms[0]


def rotation_exp(angle: Tensor) -> Tensor:
    """[[cos, -sin], [sin, cos]] [..., 2, 2] of angles [...] in radians."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))


def turning_mean(angle: Tensor) -> Tensor:
    """V(a) = integral over tau in [0, 1] of R(tau a) = [[sin a, cos a - 1], [1 - cos a, sin a]] /
    a, [..., 2, 2]; V(0) = 1.
    """
    half = 0.5 * angle
    # V(a) = sin(a / 2) / (a / 2) R(a / 2), and sin h / h = 2 c'(-h^2)
    shrink = _Weights.apply(torch.zeros_like(half), -half * half, 0)[0][0, 2, ..., None, None]
    return shrink * rotation_exp(half)


def with_last_row(rows: Tensor) -> Tensor:
    """[..., d, d + 1] -> [..., d + 1, d + 1] with the last row (0, ..., 0, 1) of homogeneous
    coordinates.
    """
    last = torch.zeros_like(rows[..., :1, :])
    last[..., -1] = 1
    return torch.cat([rows, last], -2)


def _kind(array: Array) -> tuple[Any, torch.device | None]:
    """Dtype and device; NumPy has none."""
    return array.dtype, array.device if isinstance(array, Tensor) else None


@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _constants(
    arrays: list[np.ndarray], dtype: Any, device: torch.device | None
) -> tuple[Array, ...]:
    """float64 arrays in the dtype and engine that calls for them."""
    return tuple(
        a.astype(dtype) if device is None else torch.tensor(a, dtype=dtype, device=device)
        for a in arrays
    )


@lru_cache(maxsize=16)
def _coefficients(order: int, count: int) -> tuple[float, ...]:
    """The first coefficients of `_series`."""
    return tuple(math.perm(k, order) / math.factorial(2 * k) for k in range(order, order + count))


@lru_cache(maxsize=64)
def _quadrature(order: int, dtype: Any, device: torch.device | None) -> tuple[Array, ...]:
    """Nodes tau [n + 1] (the last is 1), their squares, and the sums [(2 order + 3) 4, (order + 3)
    (n + 1)] of `_weights`.

    d^a/ds^a d^b/dq^b of e^(s tau) c(q tau^2) is e^(s tau) tau^(a + 2b) c^(b)(q tau^2), and likewise
    with 2 tau c' for c.
    """
    count = _NODES["float64" if dtype in (torch.float64, np.float64) else "float32"]
    nodes, weights = np.polynomial.legendre.leggauss(count)
    tau = np.append((nodes + 1) / 2, 1.0)
    integral, end = np.append(weights / 2, 0.0), np.append(np.zeros(count), 1.0)
    table = np.zeros((2 * order + 3, 4, order + 3, count + 1))
    powers = [(n - b, b) for n in (order, order + 1) for b in range(n + 1)]
    for place, (a, b) in enumerate(powers):
        even = tau ** (a + 2 * b)
        table[place, 0, b] = end * even
        table[place, 1, b + 1] = 2 * end * even
        table[place, 2, b] = integral * even
        table[place, 3, b + 1] = 2 * integral * even * tau
    return _constants([tau, tau**2, table.reshape(4 * (2 * order + 3), -1)], dtype, device)
