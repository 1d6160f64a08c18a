"""Reynolds projections for groups of permutations: the mean over a group is the mean over every
orbit.

A dense layer between feature maps [B, points, channels] is a weight [points, c_out, points, c_in].
It is equivariant under permutations of the points if and only if it is constant on the orbits of
pairs of points, and the orthogonal projection onto such weights gives every entry the mean of its
orbit: no sum over the group is needed, which may have 10! elements.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


@dataclass(frozen=True)
class Orbits:
    """A partition into orbits, of points (one row) or of pairs of points.

    Attributes:
        labels: [rows, columns] int64, the number of each entry's orbit: 0 for the orbit of the
            first entry, and so on.
        sizes: [k] int64, the number of entries of each orbit.
    """

    labels: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, representatives: Tensor) -> "Orbits":
        """From a number for every entry, [rows, columns], that is the same exactly within an orbit
        and grows with its first entry.
        """
        labels = torch.unique(representatives, return_inverse=True)[1]
        return cls(labels, labels.flatten().bincount())

    def to(self, device: torch.device) -> "Orbits":
        """A copy on another device."""
        return Orbits(self.labels.to(device), self.sizes.to(device))

    def mean(self, weight: Tensor) -> Tensor:
        """The mean over orbits [..., rows, c, columns, d], of weights of this shape, for every c
        and d; differentiable.
        """
        return _SelfAdjoint.apply(weight, self)


class _SelfAdjoint(torch.autograd.Function):
    """An orthogonal projection is its own adjoint: the gradient passes through the same means, and
    nothing is kept for it.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, orbits: Orbits) -> Tensor:
        ctx.orbits = orbits
        return orbit_mean(weight, orbits)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return _SelfAdjoint.apply(grad, ctx.orbits), None


def orbit_mean(weight: Tensor, orbits: Orbits) -> Tensor:
    """The mean over orbits of weights [..., rows, c, columns, d]: the same shape and dtype,
    contiguous.

    Sums are in float64: single precision would lose digits in orbits of thousands of entries, just
    where distances from the equivariant weights are measured. A float32 weight that is constant on
    the orbits comes back bit for bit.
    """
    return spread(orbit_values(weight, orbits), orbits)


def orbit_values(weight: Tensor, orbits: Orbits) -> Tensor:
    """The mean of every orbit, [..., k, c, d], of weights [..., rows, c, columns, d]: the free
    numbers of its projection.
    """
    rows, columns = orbits.labels.shape
    c, d = weight.shape[-3], weight.shape[-1]
    copies = weight.shape[:-4].numel()
    stacked = weight.reshape(copies, rows, c, columns, d)
    step = _rows_at_once(weight.device, rows, copies * c * columns * d)
    means = torch.zeros(
        len(orbits.sizes), copies * c * d, dtype=torch.float64, device=weight.device
    )
    for start in range(0, rows, step):
        part = stacked[:, start : start + step].permute(1, 3, 0, 2, 4)
        part = (
            part.to(torch.float64, memory_format=torch.contiguous_format).flatten(2).flatten(0, 1)
        )  # [pairs, copies c d]
        means.index_add_(0, orbits.labels[start : start + step].flatten(), part)
    means = (
        means.div_(orbits.sizes.unsqueeze(-1))
        .to(weight.dtype)
        .view(len(orbits.sizes), copies, c, d)
    )
    return means.transpose(0, 1).reshape(*weight.shape[:-4], len(orbits.sizes), c, d)


def spread(values: Tensor, orbits: Orbits) -> Tensor:
    """The weight [..., rows, c, columns, d], contiguous, that has these values [..., k, c, d] on
    the orbits.
    """
    rows, columns = orbits.labels.shape
    *leading, k, c, d = values.shape
    copies = math.prod(leading)
    by_orbit = values.reshape(copies, k, c, d).transpose(0, 1).contiguous()
    out = values.new_empty(copies, rows, c, columns, d)
    step = _rows_at_once(values.device, rows, copies * c * columns * d)
    for start in range(0, rows, step):
        part = by_orbit.index_select(0, orbits.labels[start : start + step].flatten()).unflatten(
            0, (-1, columns)
        )
        out[:, start : start + step] = part.permute(2, 0, 3, 1, 4)
    return out.view(*leading, rows, c, columns, d)


AT_ONCE = 1 << 18
"""Entries that a CPU's cache holds while they are transposed: twice as fast as all at once, and no
copy in memory."""


def _rows_at_once(device: torch.device, rows: int, entries: int) -> int:
    """How many rows of points, each of so many entries, are transposed at a time; on a GPU all, for
    it waits for launches.
    """
    return rows if device.type != "cpu" else min(rows, max(1, AT_ONCE // max(1, entries)))
