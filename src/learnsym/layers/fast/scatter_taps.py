"""Move values between the taps inside the disc and the dense weight of a conv2d."""

from typing import Any

import torch
from torch import Tensor

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
    """Scatter [..., taps], of any strides, to [..., size], contiguous and zero elsewhere.

    One pass over the values, where a permutation and an index_copy make three, and one over the
    gradient. Differentiable any number of times: copies to slices are, without this function too.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, runs: TapRuns, size: int, dtype: torch.dtype) -> Tensor:
        ctx.runs, ctx.layout = runs, (values.shape, values.stride(), values.dtype)
        out = torch.zeros(*values.shape[:-1], size, dtype=dtype, device=values.device)
        for start, stop, tap in runs:
            out[..., start:stop].copy_(values[..., tap : tap + stop - start])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        shape, strides, dtype = ctx.layout
        out = torch.empty_strided(shape, strides, dtype=dtype, device=grad.device)
        for start, stop, tap in ctx.runs:
            out[..., tap : tap + stop - start].copy_(grad[..., start:stop])
        return out, None, None, None


scatter = _Scatter.apply
