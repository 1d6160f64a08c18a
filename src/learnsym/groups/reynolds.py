"""Project weights onto equivariant maps of permutation groups, by the mean over every orbit.

A dense layer between feature maps [B, points, channels] is a weight [points, c_out, points, c_in].
It is equivariant under permutations of the points if and only if it is constant on the orbits of
pairs of points, and the orthogonal projection onto such weights (the Reynolds operator) gives every
entry the mean of its orbit: no sum over the group is needed, which may have 10! elements.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

_ENTRIES_AT_ONCE = 1 << 18
"""Entries that a CPU's cache holds while they are transposed, which also saves a copy in memory."""


@dataclass(frozen=True)
class Orbits:
    """A partition into orbits, of points (one row) or of pairs of points.

    Weights are [..., rows, c, columns, d], values on the k orbits [..., k, c, d]; `labels` [rows,
    columns] number the orbits by their first entries, `sizes` [k] count their entries.
    """

    labels: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> "Orbits":
        """Build it from a number for every entry [rows, columns], the same within an orbit."""
        _, first, numbers = np.unique(codes.numpy(), return_index=True, return_inverse=True)
        labels = torch.from_numpy(first.argsort().argsort()[numbers]).view(codes.shape)
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
        leading, c, d = weight.shape[:-4], weight.shape[-3], weight.shape[-1]
        copies, k = leading.numel(), len(self.sizes)
        weight, dtype = weight.reshape(copies, rows, c, columns, d), weight.dtype
        means = torch.zeros(k, copies * c * d, dtype=torch.float64, device=weight.device)
        for some in self._blocks(copies * c * columns * d):
            block = weight[:, some].permute(1, 3, 0, 2, 4)
            block = block.to(torch.float64, memory_format=torch.contiguous_format)
            pairs = block.flatten(2).flatten(0, 1)  # [pairs, copies c d]
            means.index_add_(0, self.labels[some].flatten(), pairs)
        means = means.div_(self.sizes.unsqueeze(-1)).to(dtype).view(k, copies, c, d)
        return means.transpose(0, 1).reshape(*leading, k, c, d)

    def _spread(self, values: Tensor) -> Tensor:
        """Return the contiguous weight that has these values on the orbits."""
        rows, columns = self.labels.shape
        leading, (k, c, d) = values.shape[:-3], values.shape[-3:]
        copies = leading.numel()
        by_orbit = values.reshape(copies, k, c, d).transpose(0, 1).contiguous()
        weight = values.new_empty(copies, rows, c, columns, d)
        for some in self._blocks(copies * c * columns * d):
            pairs = by_orbit.index_select(0, self.labels[some].flatten())
            weight[:, some] = pairs.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4)
        return weight.view(*leading, rows, c, columns, d)

    def _blocks(self, entries: int) -> Iterator[slice]:
        """Yield the rows, each of so many entries, to transpose at a time: all, on a GPU."""
        on_cpu, rows = self.labels.device.type == "cpu", len(self.labels)
        step = max(1, _ENTRIES_AT_ONCE // max(1, entries)) if on_cpu else rows
        return (slice(start, start + step) for start in range(0, rows, step))


class _OrbitMean(torch.autograd.Function):
    """The mean over orbits; orthogonal projections are self-adjoint, so it is its own gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, orbits: Orbits) -> Tensor:
        ctx.orbits = orbits  # type: ignore[attr-defined]  # a context takes any attribute
        return orbits._spread(orbits._values(weight))

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return _OrbitMean.apply(grad, ctx.orbits), None  # type: ignore[attr-defined]
