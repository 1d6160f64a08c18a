"""Swish and a linear map of scaled rows that keep the rows alone for the backward pass.

Of swish(x * scale + shift) and of a linear map of it autograd would keep three tensors as large as
x; here the others are computed again: a third of the memory, for two elementwise passes.
Differentiable any number of times. The plain form is that of `SwishNorm` in evaluation.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.layers.fast.context import Context


def column_sums(x: Tensor) -> Tensor:
    """Sum rows [P, C] to [C] by a product, faster on a CPU than torch.sum."""
    return (x.new_ones(1, len(x)) @ x).squeeze(0)


class _RowMoments(torch.autograd.Function):
    """Compute mean and biased variance [C] of rows [P, C].

    torch.var_mean over the first dimension takes several times as long on a CPU.
    """

    @staticmethod
    def forward(rows: Tensor) -> tuple[Tensor, Tensor]:
        mean = column_sums(rows) / len(rows)
        return mean, column_sums((rows - mean).square_()) / len(rows)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[0])

    @staticmethod
    def backward(ctx: Context, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
        rows, mean = ctx.saved_tensors
        slope = grad_variance * (2 / len(rows))
        return torch.addcmul(grad_mean / len(rows) - mean * slope, rows, slope)


class _ScaledSwish(torch.autograd.Function):
    """Compute swish(rows * scale + shift) of rows [P, C]."""

    @staticmethod
    def forward(rows: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return F.silu(torch.addcmul(shift, rows, scale), inplace=True)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, scale, shift = ctx.saved_tensors
        return _swish_backward(grad, torch.addcmul(shift, rows, scale), rows, scale)


class _ScaledSwishLinear(torch.autograd.Function):
    """Compute swish(rows * scale + shift) W^T + b, the product in the dtype of W."""

    @staticmethod
    def forward(rows: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        active = F.silu(torch.addcmul(shift, rows, scale), inplace=True)
        return F.linear(active.to(weight.dtype), weight, bias)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, ...]:
        rows, scale, shift, weight = ctx.saved_tensors
        before = torch.addcmul(shift, rows, scale)
        grad_weight = grad.T @ F.silu(before).to(grad.dtype)
        inner = (grad @ weight).to(rows.dtype)
        return *_swish_backward(inner, before, rows, scale), grad_weight, column_sums(grad)


def _swish_backward(
    grad: Tensor, before: Tensor, rows: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients of rows, scale and shift, given that of swish(before).

    `before` = rows * scale + shift is overwritten.
    """
    if torch.is_grad_enabled():  # for second derivatives, which torch's own function lacks
        gate = before.sigmoid()
        inner = grad * gate * (1 + before * (1 - gate))
        return inner * scale, column_sums(inner * rows), column_sums(inner)
    inner = torch.ops.aten.silu_backward.grad_input(grad, before, grad_input=before)
    slopes = column_sums(inner * rows), column_sums(inner)
    return inner.mul_(scale), *slopes


row_moments = _RowMoments.apply
scaled_swish = _ScaledSwish.apply
scaled_swish_linear = _ScaledSwishLinear.apply
