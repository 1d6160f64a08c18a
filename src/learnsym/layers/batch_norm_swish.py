"""Batch norm and swish of rows [P, C], both computed again in the backward pass instead of kept.

With the mean m and variance v of a channel, batch norm is x -> x * scale + shift, scale = weight /
sqrt(v + eps) and shift = bias - m * scale. Of swish(x * scale + shift) and of a linear map of it
only x is kept: a third of the memory, for two elementwise passes. Rows are the points of all
examples laid end to end, padding left out: the "masked" batch norm of LieConv.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from learnsym.schema import Size


class SwishNorm(nn.BatchNorm1d):
    """swish(batch norm(x)) of rows, followed by a linear map if one is given.

    Args:
        channels: C.

    Shape: [P, C] to [P, C], or to [P, C'] with a linear map C -> C'.

    >>> SwishNorm(3).eval()(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    def __init__(self, channels: Size) -> None:
        super().__init__(channels)

    def forward(self, rows: Tensor, linear: nn.Linear | None = None) -> Tensor:
        """[P, C] to [P, C]; with `linear`, to linear(swish(batch norm(rows))) in the precision of
        autocast, where that is on.
        """
        rows = rows.to(torch.promote_types(rows.dtype, self.weight.dtype))
        scale, shift = self.scale_and_shift(rows)
        if not self.training:
            active = F.silu(torch.addcmul(shift, rows, scale))
            return active if linear is None else linear(active)
        if linear is None:
            return _Swish.apply(rows, scale, shift)
        precision = product_precision(rows)
        return _SwishLinear.apply(
            rows, scale, shift, linear.weight.to(precision), linear.bias.to(precision)
        )

    def scale_and_shift(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Both [C]: in training of the rows' own mean and variance, which move the running ones;
        else of the running ones.
        """
        mean, variance = self.running_mean, self.running_var
        if self.training:
            count, mean, variance = self.moments(rows)
            self._remember(count, mean.detach(), variance.detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return scale, self.bias - mean * scale

    def moments(self, rows: Tensor) -> tuple[int | Tensor, Tensor, Tensor]:
        """Number of rows, their mean and (biased) variance [C]."""
        if len(rows) < 2:
            raise ValueError(
                f"batch norm in training takes at least 2 points (or pairs of them) in a batch, got {len(rows)}"
            )
        return len(rows), *_Moments.apply(rows)

    @torch.no_grad()
    def _remember(self, count: int | Tensor, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics (the variance unbiased), as nn.BatchNorm1d does."""
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(
            (variance * (count / (count - 1))).to(self.running_var.dtype), self.momentum
        )


def product_precision(x: Tensor) -> torch.dtype:
    """The dtype in which a product with x is computed: autocast's where that is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def column_sums(x: Tensor) -> Tensor:
    """[P, C] -> [C]."""
    return (x.new_ones(1, len(x)) @ x).squeeze(0)


class _Moments(torch.autograd.Function):
    """Mean and biased variance of rows; torch.var_mean over the first axis takes several times as
    long on a CPU.
    """

    @staticmethod
    def forward(rows: Tensor) -> tuple[Tensor, Tensor]:
        mean = column_sums(rows) / len(rows)
        return mean, column_sums((rows - mean).square_()) / len(rows)

    @staticmethod
    def setup_context(
        ctx: FunctionCtx, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]
    ) -> None:
        ctx.save_for_backward(*inputs, output[0])

    @staticmethod
    def backward(ctx: FunctionCtx, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
        rows, mean = ctx.saved_tensors
        slope = grad_variance * (2 / len(rows))
        return torch.addcmul(grad_mean / len(rows) - mean * slope, rows, slope)


class _Swish(torch.autograd.Function):
    """swish(rows * scale + shift)."""

    @staticmethod
    def forward(rows: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return F.silu(torch.addcmul(shift, rows, scale), inplace=True)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, scale, shift = ctx.saved_tensors
        return _swish_backward(grad, torch.addcmul(shift, rows, scale), rows, scale)


class _SwishLinear(torch.autograd.Function):
    """swish(rows * scale + shift) W^T + b, the product in the dtype of W."""

    @staticmethod
    def forward(rows: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        active = F.silu(torch.addcmul(shift, rows, scale), inplace=True)
        return F.linear(active.to(weight.dtype), weight, bias)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, ...]:
        rows, scale, shift, weight = ctx.saved_tensors
        before = torch.addcmul(shift, rows, scale)
        grad_weight = grad.T @ F.silu(before).to(grad.dtype)
        inner = (grad @ weight).to(rows.dtype)
        return *_swish_backward(inner, before, rows, scale), grad_weight, column_sums(grad)


def _swish_backward(
    grad: Tensor, before: Tensor, rows: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of rows, scale and shift, given that of swish(before), before = rows * scale +
    shift; it writes over `before`.
    """
    if torch.is_grad_enabled():  # for second derivatives, which torch's own function lacks
        bend = before.sigmoid()
        inner = grad * bend * (1 + before * (1 - bend))
        return inner * scale, column_sums(inner * rows), column_sums(inner)
    inner = torch.ops.aten.silu_backward.grad_input(grad, before, grad_input=before)
    slopes = column_sums(inner * rows), column_sums(inner)
    return inner.mul_(scale), *slopes
