"""Swish and a linear map of scaled rows that keep the rows alone for the backward pass.

Of swish(x * scale + shift) and of a linear map of it autograd would keep three tensors as large as
x; here the others are computed again: a third of the memory, for two elementwise passes.
Differentiable any number of times. The plain form is that of `SwishNorm` in evaluation.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _column_sums(x: Tensor) -> Tensor:
    """Sum rows [P, C] to [C] by a product, faster on a CPU than torch.sum."""
    return (x.new_ones(1, len(x)) @ x).squeeze(0)


class _RowMoments(torch.autograd.Function):
    """Compute mean and biased variance [C] of rows [P, C].

    torch.var_mean over the first dimension takes several times as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        mean = _column_sums(rows) / len(rows)
        ctx.save_for_backward(rows, mean)
        return mean, _column_sums((rows - mean).square_()) / len(rows)

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
        rows, mean = ctx.saved_tensors
        slope = grad_variance * (2 / len(rows))
        return torch.addcmul(grad_mean / len(rows) - mean * slope, rows, slope)


class _ScaledSwishLinear(torch.autograd.Function):
    """Compute swish(rows * scale + shift), and W . + b of it in the dtype of W if W is given."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        scale: Tensor,
        shift: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(rows, scale, shift, weight)
        active = F.silu(torch.addcmul(shift, rows, scale), inplace=True)
        return active if weight is None else F.linear(active.to(weight.dtype), weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, scale, shift, weight = ctx.saved_tensors
        before = torch.addcmul(shift, rows, scale)
        of_weight = None if weight is None else grad.T @ F.silu(before).to(grad.dtype)
        slope = grad if weight is None else (grad @ weight).to(rows.dtype)
        if torch.is_grad_enabled():  # for second derivatives, which torch's own function lacks
            gate = before.sigmoid()
            inner = slope * gate * (1 + before * (1 - gate))
            of_rows, sums = inner * scale, (_column_sums(inner * rows), _column_sums(inner))
        else:
            inner = torch.ops.aten.silu_backward.grad_input(slope, before, grad_input=before)
            sums = _column_sums(inner * rows), _column_sums(inner)
            of_rows = inner.mul_(scale)
        of_bias = None if weight is None else _column_sums(grad)
        return of_rows, *sums, of_weight, of_bias


row_moments = _RowMoments.apply
scaled_swish_linear = _ScaledSwishLinear.apply
