"""Project weights onto equivariant maps of permutation groups, by the mean over every orbit.

A dense layer between feature maps [B, points, channels] is a weight [points, c_out, points, c_in].
It is equivariant under permutations of the points if and only if it is constant on the orbits of
pairs of points, and the orthogonal projection onto such weights (the Reynolds operator) gives every
entry the mean of its orbit: no sum over the group is needed, which may have 10! elements.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

_ENTRIES_AT_ONCE = 1 << 18
"""Entries that a CPU's cache holds while they are transposed, which also saves a copy in memory."""


@dataclass(frozen=True)
class Orbits:
    """A partition into orbits, of points (one row) or of pairs of points.

    Weights are [..., rows, c, columns, d], values on the k orbits [..., k, c, d].

    Attributes:
        labels: [rows, columns] int64, the number of each entry's orbit: 0 for the orbit of the
            first entry, and so on.
        sizes: [k] int64, the number of entries of each orbit.
    """

    labels: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, representatives: Tensor) -> "Orbits":
        """Build the partition from a number for every entry, [rows, columns].

        Args:
            representatives: the same exactly within an orbit, and growing with its first entry.
        """
        labels = torch.unique(representatives, return_inverse=True)[1]
        return cls(labels, labels.flatten().bincount())

    def to(self, device: torch.device) -> "Orbits":
        """Return a copy on another device."""
        return Orbits(self.labels.to(device), self.sizes.to(device))

    def mean(self, weight: Tensor) -> Tensor:
        """Give every entry the mean of its orbit: the same shape and dtype, contiguous.

        Sums are in float64: single precision would lose digits in orbits of thousands of entries,
        just where distances from the equivariant weights are measured. A float32 weight that is
        constant on the orbits comes back bit for bit.
        """
        return _OrbitMean.apply(weight, self)

    def coordinates(self, weight: Tensor) -> Tensor:
        """Return the coordinates [..., k, c, d] of the projected weight in an orthonormal basis."""
        return self._values(weight) * self._norms(weight.dtype)

    def from_coordinates(self, coordinates: Tensor) -> Tensor:
        """Return the projected weight that has these coordinates [..., k, c, d]."""
        return self._spread(coordinates / self._norms(coordinates.dtype))

    def _norms(self, dtype: torch.dtype) -> Tensor:
        """Return the norms [k, 1, 1] of the orbits' indicators."""
        return self.sizes.to(dtype).sqrt()[:, None, None]

    def _values(self, weight: Tensor) -> Tensor:
        """Return the mean of every orbit."""
        rows, columns = self.labels.shape
        c, d = weight.shape[-3], weight.shape[-1]
        leading = weight.shape[:-4]
        copies, k = leading.numel(), len(self.sizes)
        weight, dtype = weight.reshape(copies, rows, c, columns, d), weight.dtype
        step = self._rows_at_once(copies * c * columns * d)
        means = torch.zeros(k, copies * c * d, dtype=torch.float64, device=weight.device)
        for start in range(0, rows, step):
            block = weight[:, start : start + step].permute(1, 3, 0, 2, 4)
            block = block.to(torch.float64, memory_format=torch.contiguous_format)
            pairs = block.flatten(2).flatten(0, 1)  # [pairs, copies c d]
            means.index_add_(0, self.labels[start : start + step].flatten(), pairs)
        means = means.div_(self.sizes.unsqueeze(-1)).to(dtype).view(k, copies, c, d)
        return means.transpose(0, 1).reshape(*leading, k, c, d)

    def _spread(self, values: Tensor) -> Tensor:
        """Return the contiguous weight that has these values on the orbits."""
        rows, columns = self.labels.shape
        k, c, d = values.shape[-3:]
        leading = values.shape[:-3]
        copies = leading.numel()
        by_orbit = values.reshape(copies, k, c, d).transpose(0, 1).contiguous()
        weight = values.new_empty(copies, rows, c, columns, d)
        step = self._rows_at_once(copies * c * columns * d)
        for start in range(0, rows, step):
            pairs = by_orbit.index_select(0, self.labels[start : start + step].flatten())
            block = pairs.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4)
            weight[:, start : start + step] = block
        return weight.view(*leading, rows, c, columns, d)

    def _rows_at_once(self, entries: int) -> int:
        """Return how many rows, each of so many entries, are transposed at a time.

        On a GPU all of them, since it waits for launches.
        """
        rows = len(self.labels)
        on_cpu = self.labels.device.type == "cpu"
        return min(rows, max(1, _ENTRIES_AT_ONCE // max(1, entries))) if on_cpu else rows


class _OrbitMean(torch.autograd.Function):
    """The mean over orbits; orthogonal projections are self-adjoint, so it is its own gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, orbits: Orbits) -> Tensor:
        ctx.orbits = orbits  # type: ignore[attr-defined]  # a context takes any attribute
        return orbits._spread(orbits._values(weight))

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return _OrbitMean.apply(grad, ctx.orbits), None  # type: ignore[attr-defined]
