"""Exponentials of planar affine maps in closed form.

A = [[M, t], [0, 0]] with M = s I + N, N traceless, hence N^2 = q I with q = -det N:

    exp(M) = e^s (c(q) I + 2 c'(q) N),    c(q) = cosh(sqrt q), that is cos(sqrt -q) for q < 0
    exp(A) = [[exp(M), phi(M) t], [0, 1]],    phi(M) = integral over tau in [0, 1] of exp(tau M)

c is entire, c(q) = sum_k q^k / (2k)!, so nothing here has a singular point: not the identity, not a derivative of any order.

The formulas are written once for two engines, torch and NumPy. In host memory NumPy does them: they are some sixty operations on
a few thousand numbers, and a call costs NumPy a third of what it costs torch.
"""

import math
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Tensor | np.ndarray

_NODES = {"float64": 16, "float32": 10}
"""Nodes of the quadrature: exact to rounding for |M| <= 20 in float64, for |M| <= 13 in float32."""


def affine_exp(algebra: Tensor) -> Tensor:
    """exp of [[M, t], [0, 0]] [..., 3, 3] for any 2x2 matrix M and shift t: [..., 3, 3].

    The integral phi(M) is a Gauss-Legendre sum, exact to rounding for |M| <= 20 (in float32: 13).
    """
    return _Exp.apply(algebra)[0]


class _Exp(torch.autograd.Function):
    """exp(A) = sum_m w_m Z_m + corner, with Z = (unit of the plane, Y, Y^2), Y = [[N, t], [0, 0]], Y^2 = [[q I, N t], [0, 0]].

    The weights w_m, one per column, are functions of s and q alone (`_Weights`).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(algebra: Tensor) -> tuple[Tensor, ...]:
        if algebra.device.type != "cpu" or torch._C._are_functorch_transforms_active():
            s, basis = _split(algebra, torch)
            return _combine(basis, *_weights(s, basis[..., 2, 0, 0], 0, torch))
        with np.errstate(all="ignore"):  # as torch: a branch that is not taken may overflow
            s, basis = _split(algebra.detach().numpy(), np)
            return tuple(map(torch.from_numpy, _combine(basis, *_weights(s, basis[..., 2, 0, 0], 0, np))))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(inputs[0], *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> Tensor | None:
        if grad is None:
            return None
        algebra, *saved = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient will be differentiated: what was saved has forgotten where it came from
            s, basis = _split(algebra, torch)
            return _adjoint(grad, basis, *_Weights.apply(s, basis[..., 2, 0, 0], 0))
        if grad.device.type != "cpu":
            return _adjoint(grad, *saved)
        return torch.from_numpy(_adjoint(grad.detach().numpy(), *(t.numpy() for t in saved)))


class _Weights(torch.autograd.Function):
    """`_weights`, differentiable any number of times: the derivatives of the next order are an output of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(s: Tensor, q: Tensor, order: int) -> tuple[Tensor, Tensor]:
        return _weights(s, q, order, torch)

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


def _split(algebra: Array, xp: ModuleType) -> tuple[Array, Array]:
    """s [...] and Z [..., 3, 3, 3] of A [..., 3, 3]."""
    unit, _, _ = _units(*_kind(algebra))
    s = 0.5 * (algebra[..., 0, 0] + algebra[..., 1, 1])
    rest = algebra - s[..., None, None] * unit
    return s, xp.stack([xp.zeros_like(rest) + unit, rest, rest @ rest], -3)


def _combine(basis: Array, weights: Array, slopes: Array) -> tuple[Array, Array, Array, Array]:
    """exp(A), and what its adjoint needs."""
    _, corner, _ = _units(*_kind(basis))
    elements = (weights.reshape(*basis.shape[:-3], 3, 1, 3) * basis).sum(-3) + corner
    return elements, basis, weights, slopes


def _adjoint(grad: Array, basis: Array, weights: Array, slopes: Array) -> Array:
    """The gradient with respect to A [..., 3, 3], from the one with respect to exp(A); slopes are d weights / d (s, q)."""
    unit, _, of_q = _units(*_kind(grad))
    rest = basis[..., 1, :, :].swapaxes(-1, -2)
    of_weights = (grad[..., None, :, :] * basis).sum(-2).reshape(*weights.shape)
    of_s_and_q = (of_weights * slopes).sum(-1)[..., None, None]
    weighted = grad[..., None, :, :] * weights.reshape(*basis.shape[:-3], 3, 1, 3)
    of_square = weighted[..., 2, :, :] + of_s_and_q[..., 1, :, :] * of_q
    of_rest = weighted[..., 1, :, :] + of_square @ rest + rest @ of_square
    trace = of_rest[..., 0, 0] + of_rest[..., 1, 1]
    return of_rest + (0.5 * (of_s_and_q[..., 0, :, :] - trace[..., None, None])) * unit


def _weights(s: Array, q: Array, order: int, xp: ModuleType) -> tuple[Array, Array]:
    """The numbers of s and q that exp(A) is made of, and their derivatives.

    (s [...], q [...], order n) -> [..., n + 1, 9] and [..., n + 2, 9]: the mixed derivatives of order n and n + 1, the ones with
    respect to s first, of three rows of weights, one weight per column of exp(A):

        of [[I, 0], [0, 0]]     e^s c(q),     e^s c(q),     0
        of [[N, t], [0, 0]]     e^s 2 c'(q),  e^s 2 c'(q),  integral of e^(s tau) c(q tau^2)
        of its square           0,            0,            integral of e^(s tau) 2 tau c'(q tau^2)
    """
    tau, tau_squared, table = _quadrature(order, *_kind(q))
    values = xp.stack(_cosh_root(q[..., None] * tau_squared, order + 2, xp), -2) * xp.exp(s[..., None] * tau)[..., None, :]
    weights = (values.reshape(*q.shape, -1) @ table).reshape(*q.shape, 2 * order + 3, 9)
    return weights[..., : order + 1, :], weights[..., order + 1 :, :]


def _cosh_root(q: Array, order: int, xp: ModuleType) -> list[Array]:
    """c(q) = cosh(sqrt q) and its derivatives up to `order` >= 1, from 4 q c'' + 2 c' - c = 0; near 0 as power series."""
    root = xp.sqrt(xp.clip(xp.abs(q), 1e-30, None))
    grows = q > 0
    # cosh r = 1 + m^2 / (2 e^r), sinh r = (m + m / e^r) / 2 with m = e^r - 1: several times faster than cosh and sinh.
    above = xp.expm1(root)
    ratio = above / (above + 1)
    first = xp.where(grows, 1 + 0.5 * above * ratio, xp.cos(root))
    found = [first, xp.where(grows, 0.5 * (above + ratio), xp.sin(root)) * (0.5 / root)]
    near = xp.abs(q) < 1
    inverse = 0.25 / xp.where(near, xp.ones_like(q), q)
    for n in range(order - 1):
        far = (found[n] - (4 * n + 2) * found[n + 1]) * inverse
        found.append(xp.where(near, _series(q, n + 2), far))
    return found


def _series(q: Array, order: int) -> Array:
    """The derivative of c of the given order, sum_k k! / (k - order)! q^(k - order) / (2k)!, to rounding for |q| <= 1."""
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


def _kind(array: Array) -> tuple[Any, torch.device | None]:
    """dtype and device; NumPy has none."""
    return array.dtype, array.device if isinstance(array, Tensor) else None


@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _constants(arrays: list[np.ndarray], dtype: Any, device: torch.device | None) -> tuple[Array, ...]:
    """float64 arrays in the dtype and engine that calls for them."""
    return tuple(a.astype(dtype) if device is None else torch.tensor(a, dtype=dtype, device=device) for a in arrays)


@lru_cache(maxsize=16)
def _units(dtype: Any, device: torch.device | None) -> tuple[Array, ...]:
    """[3, 3] each: the unit of the plane, the corner entry, and the place of q in Y^2."""
    return _constants([np.diag(d) for d in ([1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])], dtype, device)


@lru_cache(maxsize=16)
def _coefficients(order: int, count: int) -> tuple[float, ...]:
    """The first coefficients of `_series`."""
    return tuple(math.perm(k, order) / math.factorial(2 * k) for k in range(order, order + count))


@lru_cache(maxsize=64)
def _quadrature(order: int, dtype: Any, device: torch.device | None) -> tuple[Array, ...]:
    """Nodes tau [n + 1] (the last is 1), their squares, and the sums [(order + 3) (n + 1), (2 order + 3) * 9] of `_weights`.

    d^a/ds^a d^b/dq^b of e^(s tau) c(q tau^2) is e^(s tau) tau^(a + 2b) c^(b)(q tau^2), and likewise with 2 tau c' for c.
    """
    count = _NODES["float64" if dtype in (torch.float64, np.float64) else "float32"]
    nodes, weights = np.polynomial.legendre.leggauss(count)
    tau = np.append((nodes + 1) / 2, 1.0)
    integral, end = np.append(weights / 2, 0.0), np.append(np.zeros(count), 1.0)
    table = np.zeros((order + 3, count + 1, 2 * order + 3, 9))
    powers = [(n - b, b) for n in (order, order + 1) for b in range(n + 1)]
    for place, (a, b) in enumerate(powers):
        even = tau ** (a + 2 * b)
        table[b, :, place, [0, 1]] = end * even
        table[b, :, place, 5] = integral * even
        table[b + 1, :, place, [3, 4]] = 2 * end * even
        table[b + 1, :, place, 8] = 2 * integral * even * tau
    return _constants([tau, tau**2, table.reshape((order + 3) * (count + 1), -1)], dtype, device)
