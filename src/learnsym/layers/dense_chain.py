"""Dense layers of many members, one after the other, whose gradients over many batches are added up in place."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def dense_chain(x: Tensor, weights: list[Tensor], slope: float) -> Tensor:
    """x -> x W_0^T -> LeakyReLU -> ... -> W_L^T for every member; LeakyReLU between the layers, not after the last.

    Where a weight is a leaf that has a gradient already (zeros at first), the backward pass adds to it in place. Autograd would
    make the gradient of every batch a tensor of its own and then add it, and keep a gradient of the activations for every layer:
    more memory traffic than the products of small batches need. Once differentiable.

    Args:
        x: [M, B, in], or [1, B, in] if all members see the same.
        weights: each [M, out..., in...], any number of axes.
        slope: of LeakyReLU below zero.

    Returns:
        [M, B, out].
    """
    return _DenseChain.apply(x, slope, *weights)


def matrix_of(weight: Tensor, columns: int) -> Tensor:
    """[M, out..., in...] as [M, out, in]."""
    return weight.reshape(len(weight), -1, columns)


class _DenseChain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, slope: float, *weights: Tensor) -> Tensor:
        x = x.expand(len(weights[0]), -1, -1)
        seen = [x]
        for place, weight in enumerate(weights):
            x = torch.bmm(x, matrix_of(weight, x.shape[-1]).mT)
            if place + 1 < len(weights):
                seen.append(F.leaky_relu_(x, slope))
        ctx.save_for_backward(*seen, *weights)
        ctx.slope = slope
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.saved_tensors) // 2
        seen, weights = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        of_weights: list[Tensor | None] = [None] * count
        for place in reversed(range(count)):
            x, weight = seen[place], weights[place]
            if ctx.needs_input_grad[2 + place]:
                if weight.is_leaf and weight.grad is not None and weight.grad.is_contiguous():
                    matrix_of(weight.grad, x.shape[-1]).baddbmm_(grad.mT, x)
                else:
                    of_weights[place] = torch.bmm(grad.mT, x).view(weight.shape)
            if place == 0 and not ctx.needs_input_grad[0]:
                return None, None, *of_weights
            grad = torch.bmm(grad, matrix_of(weight, x.shape[-1]))
            if place:  # the sign of what a layer gave is that of what LeakyReLU was given; `grad` is ours to change
                torch.ops.aten.leaky_relu_backward.grad_input(grad, x, ctx.slope, True, grad_input=grad)
        return grad, None, *of_weights
