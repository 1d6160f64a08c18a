"""Move values between the taps inside the disc and the dense weight of a conv2d."""

import torch
from torch import Tensor

from learnsym.layers.fast.context import Context

TapRuns = tuple[tuple[int, int, int], ...]
"""Runs of neighbouring taps: (first index in the flat kernel, one past the last, index of the first
among the taps)."""


def tap_runs(taps: list[int]) -> TapRuns:
    """Return the runs of neighbours among ascending indices.

    >>> tap_runs([3, 8, 9])
    ((3, 4, 0), (8, 10, 1))
    """
    starts = [i for i, tap in enumerate(taps) if i == 0 or taps[i - 1] != tap - 1]
    ends = [*starts[1:], len(taps)]
    return tuple((taps[a], taps[b - 1] + 1, a) for a, b in zip(starts, ends, strict=True))


class _Scatter(torch.autograd.Function):
    """_Scatter [..., taps], of any strides, to [..., size], contiguous and zero elsewhere.

    One pass over the values, where a permutation and an index_copy make three, and one over the
    gradient. Differentiable any number of times: the backward pass is `gather`, whose own is this
    one.
    """

    @staticmethod
    def forward(
        ctx: Context, values: Tensor, runs: TapRuns, size: int, dtype: torch.dtype
    ) -> Tensor:
        ctx.runs, ctx.layout = runs, (values.shape, values.stride(), values.dtype)
        out = torch.zeros(*values.shape[:-1], size, dtype=dtype, device=values.device)
        for start, stop, tap in runs:
            out[..., start:stop].copy_(values[..., tap : tap + stop - start])
        return out

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _Gather.apply(grad, ctx.runs, *ctx.layout), None, None, None


class _Gather(torch.autograd.Function):
    """_Gather [..., size] to `shape` [..., taps] with these strides; the inverse of `scatter`."""

    @staticmethod
    def forward(
        ctx: Context,
        dense: Tensor,
        runs: TapRuns,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.runs, ctx.size, ctx.dtype = runs, dense.shape[-1], dense.dtype
        out = torch.empty_strided(shape, strides, dtype=dtype, device=dense.device)
        for start, stop, tap in runs:
            out[..., tap : tap + stop - start].copy_(dense[..., start:stop])
        return out

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _Scatter.apply(grad, ctx.runs, ctx.size, ctx.dtype), None, None, None, None


scatter, gather = _Scatter.apply, _Gather.apply
