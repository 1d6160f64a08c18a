"""Rotations and proper motions of space: exponentials and logarithms in closed form (Rodrigues).

With K = hat(u), the cross product with u = theta * axis, and the Stumpff functions c_k of s =
theta^2,

    exp(K) = c_0 1 + c_1 K + c_2 u u^T                            R(u), the rotation by theta about
    the axis V(u)   = c_1 1 + c_2 K + c_3 u u^T                            integral of R(tau u) over
    tau in [0, 1] V^-1   = c_1 / (2 c_2) 1 - K / 2 + (c_3 - 2 c_4) / (2 c_2) u u^T

and a motion is exp(u, t) = (R(u), V(u) t). The c_k are entire functions of s: nothing here has a
singular point at the identity, not in a derivative of any order. V^-1 has a pole at theta = 2 pi,
beyond the logarithm's range [0, pi].
"""

import math
from functools import lru_cache

import torch
from torch import Tensor


def hat(u: Tensor) -> Tensor:
    """The matrix of the cross product, hat(u) v = u x v: [..., 3] -> [..., 3, 3].

    >>> hat(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [[0.0, -3.0, 2.0], [3.0, 0.0, -1.0], [-2.0, 1.0, 0.0]]
    """
    x, y, z = u.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def stumpff(s: Tensor) -> tuple[Tensor, ...]:
    """c_0, ..., c_4 of s = theta^2 >= 0 [...], c_k(s) = sum_j (-s)^j / (2j + k)!: cos theta, sin
    theta / theta, ...

    c_k + s c_(k+2) = 1 / k!. Power series below s = 1, where this recurrence would cancel;
    differentiable any number of times.
    """
    near = s < 1
    far = torch.where(
        near, 1.0, s
    )  # what the other branch computes must be finite, or its gradient would not be
    root = far.sqrt()
    half = 0.5 * root
    c_1, c_2 = root.sin() / root, 0.5 * (half.sin() / half).square()
    values = torch.stack([root.cos(), c_1, c_2, (1 - c_1) / far, (0.5 - c_2) / far], -1)
    small = torch.where(near, s, 0.0).unsqueeze(-1)
    terms = _coefficients(s.device, s.dtype)
    series = terms[-1].expand_as(values)
    for term in reversed(terms[:-1]):
        series = term - small * series
    return torch.where(near.unsqueeze(-1), series, values).unbind(-1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _coefficients(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """1 / (2j + k)! [5] for j = 0, ..., 9: c_k and its first derivatives to rounding for s <= 1."""
    rows = [[1 / math.factorial(2 * j + k) for k in range(5)] for j in range(10)]
    return torch.tensor(rows, dtype=torch.float64).to(device, dtype).unbind()


def _combined(u: Tensor, one: Tensor, cross: Tensor, outer: Tensor) -> Tensor:
    """One 1 + cross hat(u) + outer u u^T: [..., 3, 3] of a vector [..., 3] and numbers [...]."""
    identity = torch.eye(3, device=u.device, dtype=u.dtype)
    product = (outer.unsqueeze(-1) * u).unsqueeze(-1) * u.unsqueeze(-2)
    return one[..., None, None] * identity + hat(cross.unsqueeze(-1) * u) + product


def rotation_exp(u: Tensor) -> Tensor:
    """R(u), rotations [..., 3, 3] by |u| radians about u [..., 3], counter-clockwise as seen from
    the tip of u.
    """
    c = stumpff(u.square().sum(-1))
    return _combined(u, c[0], c[1], c[2])


def turning_mean(u: Tensor) -> Tensor:
    """V(u) [..., 3, 3], the mean of the rotations R(tau u) over tau in [0, 1], of u [..., 3]."""
    c = stumpff(u.square().sum(-1))
    return _combined(u, c[1], c[2], c[3])


def inverse_turning_mean(u: Tensor) -> Tensor:
    """V(u)^-1 [..., 3, 3] of u [..., 3] in radians, for |u| < 2 pi."""
    c = stumpff(u.square().sum(-1))
    return _combined(
        u, c[1] / (2 * c[2]), torch.full_like(c[1], -0.5), (c[3] - 2 * c[4]) / (2 * c[2])
    )


def rotation_log(rotations: Tensor) -> Tensor:
    """The vector u [..., 3] with R(u) = rotations [..., 3, 3] and |u| <= pi: angle in radians times
    axis.

    Inverse of `rotation_exp` for |u| < pi. At pi, u and -u are the same rotation: one of them is
    returned, with the full accuracy of the axis, and the gradient is finite there too, that of the
    branch chosen; nearby rotations may get the other.
    """
    q = rotation_quaternions(rotations)
    w, v = q[..., 0], q[..., 1:]
    return _angle_per_sine(v.square().sum(-1), w).unsqueeze(-1) * v


def _angle_per_sine(square: Tensor, w: Tensor) -> Tensor:
    """Theta / sin(theta / 2) [...], given sin(theta / 2)^2 and w = cos(theta / 2) >= 0; a power
    series of the tangent near 0.
    """
    near = square < 0.04
    far = torch.where(near, 1.0, square).sqrt()
    cosine = torch.where(near, w, 1.0)
    tangent = torch.where(near, square, 0.0) / cosine.square()
    series = torch.zeros_like(w)
    for j in reversed(range(12)):
        series = 1 / (2 * j + 1) - tangent * series
    return 2 * torch.where(near, series / cosine, torch.atan2(far, w) / far)


def rotation_quaternions(rotations: Tensor) -> Tensor:
    """Unit quaternions (w, x, y, z) [..., 4], w >= 0, of rotations [..., 3, 3].

    The entries of R give all products 4 q_i q_j; a column of theirs is q, up to a factor. Of the
    four columns the one that belongs to the largest entry of q is taken, which is at least 1/2:
    accurate at any angle.
    """
    r = rotations
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    wx, wy, wz = (
        r[..., 2, 1] - r[..., 1, 2],
        r[..., 0, 2] - r[..., 2, 0],
        r[..., 1, 0] - r[..., 0, 1],
    )
    xy, yz, zx = (
        r[..., 0, 1] + r[..., 1, 0],
        r[..., 1, 2] + r[..., 2, 1],
        r[..., 2, 0] + r[..., 0, 2],
    )
    squares = [1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz]
    rows = [
        squares[0],
        wx,
        wy,
        wz,
        wx,
        squares[1],
        xy,
        zx,
        wy,
        xy,
        squares[2],
        yz,
        wz,
        zx,
        yz,
        squares[3],
    ]
    products = torch.stack(rows, -1).unflatten(-1, (4, 4))
    largest = torch.stack(squares, -1).argmax(-1)[..., None, None].expand(*r.shape[:-2], 1, 4)
    column = products.gather(-2, largest).squeeze(-2)
    q = column / torch.linalg.vector_norm(column, dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def quaternion_rotations(quaternions: Tensor) -> Tensor:
    """Rotations [..., 3, 3] of quaternions (w, x, y, z) [..., 4] of any length but 0.

    Four independent normal numbers give rotations that are uniform on SO(3), that is by Haar's
    measure.
    """
    q = quaternions / torch.linalg.vector_norm(quaternions, dim=-1, keepdim=True)
    w, v = q[..., 0], q[..., 1:]
    return _combined(v, w.square() - v.square().sum(-1), 2 * w, torch.full_like(w, 2.0))


def uniform_rotations(draws: Tensor) -> Tensor:
    """Rotations [..., 3, 3], uniform on SO(3) by Haar's measure, of three independent numbers [...,
    3] uniform on [0, 1).

    Two of the quaternion's four numbers lie on a circle whose squared radius is uniform, the other
    two on one of the rest.

    >>> uniform_rotations(torch.tensor([1.0, 0.5, 0.0])).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    share, first, second = draws.unbind(-1)
    first, second = 2 * math.pi * first, 2 * math.pi * second
    inner, outer = share.sqrt(), (1 - share).sqrt()
    return quaternion_rotations(
        torch.stack(
            [inner * second.cos(), inner * second.sin(), outer * first.cos(), outer * first.sin()],
            -1,
        )
    )


def motion_exp(u: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Exp of a twist: u [..., 3] in radians, shift [..., 3] -> rotation R(u) [..., 3, 3] and
    translation V(u) shift [..., 3].
    """
    c = stumpff(u.square().sum(-1))
    return _combined(u, c[0], c[1], c[2]), _times(_combined(u, c[1], c[2], c[3]), shift)


def motion_log(rotations: Tensor, translations: Tensor) -> tuple[Tensor, Tensor]:
    """U and shift [..., 3] of a motion x -> R x + t, R [..., 3, 3], t [..., 3]; inverse of
    `motion_exp` for |u| < pi.
    """
    u = rotation_log(rotations)
    return u, _times(inverse_turning_mean(u), translations)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """M v, [..., 3]; not a matmul, which autocast would do in half precision."""
    return (matrices * vectors.unsqueeze(-2)).sum(-1)
