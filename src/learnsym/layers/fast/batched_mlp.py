"""Dense layers of many members, whose gradients over many batches are added up in place."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from learnsym.utils.double_backward import double_backward_enabled


def batched_mlp(x: Tensor, weights: list[Tensor], slope: float) -> Tensor:
    """Apply x -> x W_0^T -> LeakyReLU -> ... -> W_L^T for every member.

    x is [M, B, in], or [1, B, in] if all members see the same, a weight [M, out..., in...] with any
    number of axes, and the result [M, B, out].

    Where a weight is a leaf that has a gradient already (zeros at first), the backward pass adds to
    it in place: autograd's new tensors for every batch and layer cost more memory traffic than the
    products of small batches. Once differentiable (but see `learnsym.utils.double_backward`).
    """
    x = x.expand(len(weights[0]), -1, -1)
    if not double_backward_enabled():
        return _BatchedMLP.apply(x, slope, *weights)
    for index, weight in enumerate(weights):
        x = F.leaky_relu(x, slope) if index else x
        x = torch.bmm(x, _matrix(weight, x.shape[-1]).mT)
    return x


def _matrix(weight: Tensor, columns: int) -> Tensor:
    """Reshape [M, out..., in...] to [M, out, in]."""
    return weight.reshape(len(weight), -1, columns)


class _BatchedMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, *weights: Tensor) -> Tensor:
        activations = [x]
        for weight in weights[:-1]:
            x = F.leaky_relu_(torch.bmm(x, _matrix(weight, x.shape[-1]).mT), slope)
            activations.append(x)
        ctx.save_for_backward(*activations, *weights)
        ctx.slope = slope
        return torch.bmm(x, _matrix(weights[-1], x.shape[-1]).mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.saved_tensors) // 2
        activations, weights = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        grad_weights: list[Tensor | None] = [None] * count
        for index in reversed(range(count)):
            x, weight = activations[index], weights[index]
            if ctx.needs_input_grad[2 + index] and not _add_in_place(weight, grad, x):
                grad_weights[index] = torch.bmm(grad.mT, x).view(weight.shape)
            if index or ctx.needs_input_grad[0]:
                grad = torch.bmm(grad, _matrix(weight, x.shape[-1]))
            if index:  # the sign of what LeakyReLU gave is that of what it was given
                torch.ops.aten.leaky_relu_backward.grad_input(
                    grad, x, ctx.slope, True, grad_input=grad
                )
        return grad if ctx.needs_input_grad[0] else None, None, *grad_weights


def _add_in_place(weight: Tensor, grad: Tensor, x: Tensor) -> bool:
    """Add grad^T x to the gradient of a leaf; False if it has none or its strides forbid it."""
    if not weight.is_leaf or weight.grad is None:
        return False
    total = _matrix(weight.grad, x.shape[-1])
    if total.data_ptr() != weight.grad.data_ptr():
        return False
    if total.is_contiguous():
        total.baddbmm_(grad.mT, x)
    elif total.mT.is_contiguous():
        total.mT.baddbmm_(x.mT, grad)
    else:
        return False
    return True
