"""Measure how far a convolution is from equivariance, without a dense matrix.

A convolution is A = sum_t k_t (x) S_t: a tap k_t [C_out, C_in] wherever S_t has a one, at the pairs
(p, q) of an output point p and an input point q that tap t joins. Its projection onto the maps that
commute with a finite group of permutations of the pixels gives every pair the mean m_o over its
orbit o (Reynolds), so with n_ot the number of pairs of o that belong to tap t, and |o| that of all
its pairs,

    m_o = sum_t n_ot k_t / |o|
    |A - Pi A|^2 = sum_o ( sum_t n_ot |k_t - m_o|^2 + (|o| - sum_t n_ot) |m_o|^2 ).

Every term is the square of a number that is linear in the taps. So there is one matrix D, of the
geometry alone, with |A - Pi A| = |D k| for the taps k [T, C_out C_in] of every such convolution;
squares are not subtracted from each other.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from learnsym.groups.permutation import GROUPS, GroupName

ANY_SIDES = frozenset({"quarter_turns"})
"""The groups whose element number k means the same on maps of different sides."""


@dataclass(frozen=True)
class Stencil:
    """The geometry of a convolution between square maps, along y and x.

    The taps of the `kernel` are numbered row * columns + column; `padding` lies in front of the
    first row and column. Beyond the border, `circular` maps go on at the other side, others are 0.
    """

    side_in: int
    side_out: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    circular: bool

    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """List every tap [n] at every output point where it reaches an input, both [n, 2]."""
        start = torch.arange(self.side_out)
        y, x, a, b = torch.cartesian_prod(start, start, *map(torch.arange, self.kernel)).unbind(1)
        v = y * self.stride[0] - self.padding[0] + a * self.dilation[0]
        u = x * self.stride[1] - self.padding[1] + b * self.dilation[1]
        if self.circular:
            v, u = v % self.side_in, u % self.side_in
        inside = (v >= 0) & (v < self.side_in) & (u >= 0) & (u < self.side_in)
        tap = (a * self.kernel[1] + b)[inside]
        return tap, torch.stack([y, x], -1)[inside], torch.stack([v, u], -1)[inside]


def distance_matrices(group: GroupName, stencil: Stencil) -> tuple[Tensor, Tensor]:
    """Return D and N with |A - Pi A| = |D k| and |A| = |N k| for taps k [T, C_out C_in].

    Both are float64 with at most T rows, and divided by the square root of the number of output
    points: far from borders they are distance and norm of the kernel itself. The group must act
    alike on both maps, see `ANY_SIDES`.
    """
    tap, p, q = stencil.pairs()
    sides = stencil.side_out, stencil.side_in
    point_out, point_in = p[:, 0] * sides[0] + p[:, 1], q[:, 0] * sides[1] + q[:, 1]
    pairs, index = (point_out * sides[1] ** 2 + point_in).unique(return_inverse=True)
    size, code = torch.empty_like(pairs), torch.empty_like(pairs)
    code[index], size[index] = GROUPS[group].pair_codes(p, q, *sides)
    members, member = _pair_members(tap, index, len(pairs), math.prod(stencil.kernel))
    orbits, orbit = code.unique(return_inverse=True)
    shape = len(orbits), len(members)
    counts = (orbit * len(members) + member).bincount(minlength=math.prod(shape)).view(shape)
    sizes = counts.new_zeros(len(orbits))
    sizes[orbit] = size
    # Orbits with the same counts and size have the same rows.
    distinct, times = torch.cat([counts, sizes.unsqueeze(1)], 1).unique(dim=0, return_counts=True)
    deviations = _deviations(distinct[:, :-1].double(), distinct[:, -1].double(), times.double())
    points = stencil.side_out**2
    norm = (counts.sum(0).double() / points).sqrt().unsqueeze(1) * members
    return _triangle(deviations @ members / math.sqrt(points)), _triangle(norm)


def _pair_members(tap: Tensor, index: Tensor, pairs: int, taps: int) -> tuple[Tensor, Tensor]:
    """Return the different entries of A as sums of taps [m, T], and which one each pair has."""
    if len(index) == pairs:  # one tap each: no circular stencil that meets itself on a small map
        member = torch.empty(pairs, dtype=torch.int64)
        member[index] = tap
        return torch.eye(taps, dtype=torch.float64), member
    sums = torch.zeros(pairs, taps, dtype=torch.float64)
    sums.index_put_((index, tap), torch.ones((), dtype=torch.float64), accumulate=True)
    return sums.unique(dim=0, return_inverse=True)


def _deviations(counts: Tensor, size: Tensor, times: Tensor) -> Tensor:
    """Return rows whose squares sum to the formula, for n_ot [orbits, T], |o| and its number."""
    mean = counts / size.unsqueeze(1)
    orbit, member = counts.nonzero(as_tuple=True)
    deviation = -mean[orbit]
    deviation[torch.arange(len(deviation)), member] += 1.0
    deviation *= (times[orbit] * counts[orbit, member]).sqrt().unsqueeze(1)
    empty = (times * (size - counts.sum(1))).sqrt().unsqueeze(1) * mean
    return torch.cat([deviation, empty])


def _triangle(matrix: Tensor) -> Tensor:
    """Return a matrix of at most as many rows as columns that keeps every vector's length."""
    return matrix if len(matrix) <= matrix.shape[1] else torch.linalg.qr(matrix, mode="r")[1]
