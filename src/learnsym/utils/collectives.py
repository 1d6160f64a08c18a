"""Sums over the processes of a run that a gradient can pass through."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _SumOverProcesses(torch.autograd.Function):
    """The sum of all processes' tensors. Each process's loss depends on it, so the gradient is a
    sum over processes too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


def is_distributed() -> bool:
    """Return whether several processes are joined in a run."""
    return dist.is_available() and dist.is_initialized()


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of all processes' tensors, differentiable; the tensor itself where there is one
    process.
    """
    return _SumOverProcesses.apply(x) if is_distributed() else x
