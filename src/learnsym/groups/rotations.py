"""Exponentials and logarithms of rotations and proper motions in closed form.

In space, with K = hat(u) the cross product with u = theta * axis and the Stumpff functions c_k of
s = theta^2 (Rodrigues):

    R(u)    = exp(K) = c_0 1 + c_1 K + c_2 u u^T             the rotation by theta about the axis
    V(u)    = c_1 1 + c_2 K + c_3 u u^T                      the left Jacobian, the integral of
                                                             R(tau u) over tau in [0, 1]
    V(u)^-1 = c_1 / (2 c_2) 1 - K / 2 + (c_3 - 2 c_4) / (2 c_2) u u^T

and a motion is exp(u, t) = (R(u), V(u) t); likewise in the plane. The c_k are entire functions of
s: nothing here has a singular point at the identity, not in a derivative of any order. V^-1 has a
pole at theta = 2 pi, beyond the logarithm's range [0, pi].
"""

import math
from functools import lru_cache

import torch
from torch import Tensor


def planar_rotation(angle: Tensor) -> Tensor:
    """Return R(a) = [[cos, -sin], [sin, cos]], of shape [..., 2, 2], of angles [...] (radians)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))


def planar_left_jacobian(angle: Tensor) -> Tensor:
    """Return V(a) [..., 2, 2], the mean of R(tau a) over tau in [0, 1], of angles [...].

    V(a) = [[sin a, cos a - 1], [1 - cos a, sin a]] / a = sin(a / 2) / (a / 2) R(a / 2).
    """
    half = 0.5 * angle
    return stumpff(half.square())[1][..., None, None] * planar_rotation(half)


def hat(u: Tensor) -> Tensor:
    """Return the matrices [..., 3, 3] of the cross products v -> u x v, u [..., 3]."""
    x, y, z = u.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def stumpff(s: Tensor) -> tuple[Tensor, ...]:
    """Return c_0, ..., c_4 of s = theta^2 >= 0 [...], c_k(s) = sum_j (-s)^j / (2j + k)!.

    So c_0 = cos theta and c_1 = sin theta / theta; c_k + s c_(k+2) = 1 / k!. Power series below
    s = 1, where this recurrence would cancel; differentiable any number of times.
    """
    near = s < 1
    # What the branch that is not taken computes must be finite, or its gradient would not be.
    far = torch.where(near, 1.0, s)
    root = far.sqrt()
    half = 0.5 * root
    c_1, c_2 = root.sin() / root, 0.5 * (half.sin() / half).square()
    values = torch.stack([root.cos(), c_1, c_2, (1 - c_1) / far, (0.5 - c_2) / far], -1)
    small = torch.where(near, s, 0.0).unsqueeze(-1)
    terms = _stumpff_coefficients(s.device, s.dtype)
    series = terms[-1].expand_as(values)
    for term in reversed(terms[:-1]):
        series = term - small * series
    return torch.where(near.unsqueeze(-1), series, values).unbind(-1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _stumpff_coefficients(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return 1 / (2j + k)! [5] for j = 0, ..., 9: exact to rounding for s <= 1."""
    rows = [[1 / math.factorial(2 * j + k) for k in range(5)] for j in range(10)]
    return torch.tensor(rows, dtype=torch.float64).to(device, dtype).unbind()


def _combine(u: Tensor, one: Tensor, cross: Tensor, outer: Tensor) -> Tensor:
    """Return one 1 + cross hat(u) + outer u u^T [..., 3, 3] of vectors [..., 3], numbers [...]."""
    identity = torch.eye(3, device=u.device, dtype=u.dtype)
    product = (outer.unsqueeze(-1) * u).unsqueeze(-1) * u.unsqueeze(-2)
    return one[..., None, None] * identity + hat(cross.unsqueeze(-1) * u) + product


def rotation_exp(u: Tensor) -> Tensor:
    """Return R(u) [..., 3, 3] by |u| radians, counter-clockwise as seen from the tip of u."""
    return _combine(u, *stumpff(u.square().sum(-1))[:3])


def inverse_left_jacobian(u: Tensor) -> Tensor:
    """Return V(u)^-1 [..., 3, 3] of u [..., 3] in radians, for |u| < 2 pi."""
    c = stumpff(u.square().sum(-1))
    half = torch.full_like(c[1], -0.5)
    return _combine(u, c[1] / (2 * c[2]), half, (c[3] - 2 * c[4]) / (2 * c[2]))


def rotation_log(rotations: Tensor) -> Tensor:
    """Return the vectors u [..., 3], angle in radians times axis, of rotations [..., 3, 3].

    Inverse of `rotation_exp` for |u| < pi. At pi, u and -u are the same rotation: one of them is
    returned, with the full accuracy of the axis, and the gradient is finite there too, that of the
    branch chosen; nearby rotations may get the other.
    """
    q = rotation_quaternions(rotations)
    w, v = q[..., 0], q[..., 1:]
    return _angle_per_sine(v.square().sum(-1), w).unsqueeze(-1) * v


def _angle_per_sine(square: Tensor, w: Tensor) -> Tensor:
    """Return theta / sin(theta / 2) [...] of sin(theta / 2)^2 and w = cos(theta / 2) >= 0."""
    # Near 0 by the power series of the arc tangent.
    near = square < 0.04
    far = torch.where(near, 1.0, square).sqrt()
    cosine = torch.where(near, w, 1.0)
    tangent = torch.where(near, square, 0.0) / cosine.square()
    series = torch.zeros_like(w)
    for j in reversed(range(12)):
        series = 1 / (2 * j + 1) - tangent * series
    return 2 * torch.where(near, series / cosine, torch.atan2(far, w) / far)


def rotation_quaternions(rotations: Tensor) -> Tensor:
    """Return unit quaternions (w, x, y, z) [..., 4], w >= 0, of rotations [..., 3, 3].

    The entries of R give all products 4 q_i q_j, so that a column of them is q up to a factor. Of
    the four columns the one with the largest entry on the diagonal is taken, where |q_i| is at
    least 1/2: accurate at any angle.
    """
    difference, total = rotations - rotations.mT, rotations + rotations.mT
    wx, wy, wz = difference[..., 2, 1], difference[..., 0, 2], difference[..., 1, 0]
    xy, yz, zx = total[..., 0, 1], total[..., 1, 2], total[..., 2, 0]
    a, b, c = rotations.diagonal(dim1=-2, dim2=-1).unbind(-1)
    ww, xx, yy, zz = 1 + a + b + c, 1 + a - b - c, 1 - a + b - c, 1 - a - b + c
    entries = [ww, wx, wy, wz, wx, xx, xy, zx, wy, xy, yy, yz, wz, zx, yz, zz]
    products = torch.stack(entries, -1).unflatten(-1, (4, 4))
    largest = torch.stack([ww, xx, yy, zz], -1).argmax(-1)[..., None, None]
    column = products.gather(-2, largest.expand(*largest.shape[:-1], 4)).squeeze(-2)
    q = column / torch.linalg.vector_norm(column, dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def quaternion_rotations(quaternions: Tensor) -> Tensor:
    """Return rotations [..., 3, 3] of quaternions (w, x, y, z) [..., 4] of any length but 0.

    Four independent normal numbers give rotations that are uniform on SO(3) by Haar's measure.
    """
    q = quaternions / torch.linalg.vector_norm(quaternions, dim=-1, keepdim=True)
    w, v = q[..., 0], q[..., 1:]
    return _combine(v, w.square() - v.square().sum(-1), 2 * w, torch.full_like(w, 2.0))


def uniform_rotations(draws: Tensor) -> Tensor:
    """Map numbers [..., 3] uniform on [0, 1) to rotations [..., 3, 3] uniform on SO(3).

    Two of the quaternion's four numbers lie on a circle whose squared radius is uniform, the other
    two on the circle that completes the unit sphere (Shoemake 1992).
    """
    share, first, second = draws.unbind(-1)
    first, second = 2 * math.pi * first, 2 * math.pi * second
    inner, outer = share.sqrt(), (1 - share).sqrt()
    entries = [inner * second.cos(), inner * second.sin(), outer * first.cos(), outer * first.sin()]
    return quaternion_rotations(torch.stack(entries, -1))


def motion_exp(u: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return the motion of a twist [..., 3], [..., 3]: R(u) [..., 3, 3] and V(u) shift [..., 3]."""
    c = stumpff(u.square().sum(-1))
    return _combine(u, *c[:3]), matvec(_combine(u, *c[1:4]), shift)


def motion_log(rotations: Tensor, translations: Tensor) -> tuple[Tensor, Tensor]:
    """Return the twist (u, shift) [..., 3] of a motion; inverse of `motion_exp` for |u| < pi."""
    u = rotation_log(rotations)
    return u, matvec(inverse_left_jacobian(u), translations)


def matvec(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Return M v [..., d]; unlike a matmul it keeps its precision under autocast."""
    return (matrices * vectors.unsqueeze(-2)).sum(-1)
