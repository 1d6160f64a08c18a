"""Dense layers of many members, one after the other, whose gradients over many batches are added up
in place.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from learnsym.utils.double_backward import double_backward_enabled


class Spare:
    """Memory of activations that is used over and over, batch after batch.

    The same addresses stay in a CPU's caches; whatever the allocator hands out next may not (a
    sixth of the time on small networks). Between a forward and its backward pass nobody else has
    the memory; whoever goes back through a graph a second time, after the memory was used again,
    gets autograd's error about a tensor that was modified in place.
    """

    MOST = 8
    """Tensors of one shape that are kept."""

    def __init__(self) -> None:
        self._free: dict[tuple[torch.Size, torch.dtype, torch.device], list[Tensor]] = {}

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """An uninitialised tensor of this shape."""
        free = self._free.get((torch.Size(shape), like.dtype, like.device))
        return free.pop() if free else like.new_empty(shape)

    def give(self, tensor: Tensor) -> None:
        """Take it back."""
        free = self._free.setdefault((tensor.shape, tensor.dtype, tensor.device), [])
        if len(free) < self.MOST:
            free.append(tensor)

    def __deepcopy__(self, memo: dict) -> "Spare":
        return Spare()


def dense_chain(x: Tensor, weights: list[Tensor], slope: float, spare: Spare) -> Tensor:
    """X -> x W_0^T -> LeakyReLU -> ... -> W_L^T for every member; LeakyReLU between the layers, not
    after the last.

    Where a weight is a leaf that has a gradient already (zeros at first), the backward pass adds to
    it in place. Autograd would make the gradient of every batch a tensor of its own and then add
    it, and keep a gradient of the activations for every layer:
    more memory traffic than the products of small batches need. Once differentiable (but see
    `learnsym.utils.double_backward`).

    Args:
        x: [M, B, in], or [1, B, in] if all members see the same.
        weights: each [M, out..., in...], any number of axes.
        slope: of LeakyReLU below zero.
        spare: memory for what lies between the layers.

    Returns:
        [M, B, out].
    """
    if double_backward_enabled():
        return plain_chain(x, weights, slope)
    return _DenseChain.apply(x, slope, spare, *weights)


def plain_chain(x: Tensor, weights: list[Tensor], slope: float) -> Tensor:
    """The same by autograd."""
    x = x.expand(len(weights[0]), -1, -1)
    for place, weight in enumerate(weights):
        x = F.leaky_relu(x, slope) if place else x
        x = torch.bmm(x, matrix_of(weight, x.shape[-1]).mT)
    return x


def matrix_of(weight: Tensor, columns: int) -> Tensor:
    """[M, out..., in...] as [M, out, in]."""
    return weight.reshape(len(weight), -1, columns)


def gradient_so_far(weight: Tensor, columns: int) -> Tensor | None:
    """A leaf's gradient as [M, out, in], in the same memory; None if there is none or if its
    strides do not allow it.
    """
    if not weight.is_leaf or weight.grad is None:
        return None
    matrix = matrix_of(weight.grad, columns)
    return matrix if matrix.data_ptr() == weight.grad.data_ptr() else None


class _DenseChain(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, slope: float, spare: Spare, *weights: Tensor
    ) -> Tensor:
        x = x.expand(len(weights[0]), -1, -1)
        seen = [x]
        for weight in weights[:-1]:
            matrix = matrix_of(weight, x.shape[-1]).mT
            x = torch.bmm(x, matrix, out=spare.take(x, *x.shape[:2], matrix.shape[-1]))
            seen.append(F.leaky_relu_(x, slope))
        ctx.save_for_backward(*seen, *weights)
        ctx.slope, ctx.spare = slope, spare
        if not any(ctx.needs_input_grad):
            for hidden in seen[1:]:
                spare.give(hidden)
        return torch.bmm(x, matrix_of(weights[-1], x.shape[-1]).mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.saved_tensors) // 2
        seen, weights = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        of_weights: list[Tensor | None] = [None] * count
        used = []
        for place in reversed(range(count)):
            x, weight = seen[place], weights[place]
            if ctx.needs_input_grad[3 + place]:
                total = gradient_so_far(weight, x.shape[-1])
                if total is not None and total.is_contiguous():
                    total.baddbmm_(grad.mT, x)
                elif total is not None and total.mT.is_contiguous():
                    total.mT.baddbmm_(x.mT, grad)
                else:
                    of_weights[place] = torch.bmm(grad.mT, x).view(weight.shape)
            if place:  # the sign of what LeakyReLU gave is that of what it was given
                grad = torch.bmm(
                    grad, matrix_of(weight, x.shape[-1]), out=ctx.spare.take(x, *x.shape)
                )
                torch.ops.aten.leaky_relu_backward.grad_input(
                    grad, x, ctx.slope, True, grad_input=grad
                )
                used += [x, grad]
        of_x = (
            torch.bmm(grad, matrix_of(weights[0], seen[0].shape[-1]))
            if ctx.needs_input_grad[0]
            else None
        )
        for tensor in used:
            ctx.spare.give(tensor)
        return of_x, None, None, *of_weights
