"""Between the taps inside the disc and the dense weight of a conv2d."""

from typing import Any

import torch
from torch import Tensor

Runs = tuple[tuple[int, int, int], ...]
"""Neighbouring taps: (first place in the flat kernel, one past the last, place of the first among
the taps)."""


def runs_of(taps: list[int]) -> Runs:
    """The runs of neighbours in ascending places.

    >>> runs_of([3, 8, 9])
    ((3, 4, 0), (8, 10, 1))
    """
    starts = [i for i, tap in enumerate(taps) if i == 0 or taps[i - 1] != tap - 1]
    ends = [*starts[1:], len(taps)]
    return tuple((taps[a], taps[b - 1] + 1, a) for a, b in zip(starts, ends, strict=True))


class Scatter(torch.autograd.Function):
    """[..., taps], of whatever strides, to [..., places], contiguous and zero elsewhere, in
    `dtype`.

    One pass over the values, where a permutation and an index_copy make three, and one over the
    gradient. Differentiable any number of times: the backward pass is `Gather`, whose own is this
    one.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, runs: Runs, places: int, dtype: torch.dtype) -> Tensor:
        ctx.runs, ctx.like = runs, (values.shape, values.stride(), values.dtype)
        out = torch.zeros(*values.shape[:-1], places, dtype=dtype, device=values.device)
        for start, stop, tap in runs:
            out[..., start:stop].copy_(values[..., tap : tap + stop - start])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return Gather.apply(grad, ctx.runs, *ctx.like), None, None, None


class Gather(torch.autograd.Function):
    """[..., places] to `shape` [..., taps] with these strides, in `dtype`; the inverse of
    `Scatter`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        dense: Tensor,
        runs: Runs,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.runs, ctx.places, ctx.dtype = runs, dense.shape[-1], dense.dtype
        out = torch.empty_strided(shape, strides, dtype=dtype, device=dense.device)
        for start, stop, tap in runs:
            out[..., tap : tap + stop - start].copy_(dense[..., start:stop])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        return Scatter.apply(grad, ctx.runs, ctx.places, ctx.dtype), None, None, None, None
