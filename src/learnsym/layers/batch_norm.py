"""Batch norm over the global batch of several processes, and over what a mask leaves of it.

torch.nn.SyncBatchNorm takes GPU tensors only, and no mask. Sums over processes are differentiable
all-reduces here, so that two CPU processes give the numbers of one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from learnsym.utils.collectives import all_reduce_sum, is_distributed


@dataclass(frozen=True)
class Moments:
    """Number, mean and biased variance of values, and the values minus their mean."""

    number: Tensor
    mean: Tensor
    variance: Tensor
    centred: Tensor


def moments(
    x: Tensor, dims: tuple[int, ...], mask: Tensor | None = None, across_processes: bool = False
) -> Moments:
    """Compute moments over some dimensions, which keep size 1.

    Args:
        x: values, in at least float32.
        dims: the dimensions to reduce.
        mask: 1 where a value counts and 0 elsewhere, of a shape that broadcasts to that of x; None:
            all count.
        across_processes: over the values of all processes.
    """

    def total(values: Tensor) -> Tensor:
        values = values if mask is None else values * mask.to(x.dtype)
        here = values.sum(dims, keepdim=True)
        return all_reduce_sum(here) if across_processes else here

    shape = (1,) * x.ndim if mask is None else mask.shape
    repeats = math.prod(x.shape[d] // shape[d] for d in dims)
    count = total(x.new_full(shape, repeats))
    mean = total(x) / count
    centred = x - mean
    # A second pass for the variance: sums of squares would cancel.
    return Moments(count, mean, total(centred.square()) / count, centred)


@torch.no_grad()
def update_running_stats(
    norm: nn.modules.batchnorm._BatchNorm, mean: Tensor, variance: Tensor, count: int | Tensor
) -> None:
    """Move running statistics towards a batch's mean and biased variance [C], as torch does."""
    assert norm.num_batches_tracked is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    unbiased = variance * (count / (count - 1))
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Normalise with the statistics of the global batch and of what a mask leaves of it.

    The same state_dict and, in one process without a mask, the same numbers as nn.BatchNorm2d.
    """

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise [B, C, ...]; in evaluation with the running statistics.

        Args:
            input: [B, C, H, W], or with a mask any [B, C, ...].
            mask: see `moments`.
        """
        plain = not self.training or (mask is None and not is_distributed())
        if plain or self.running_mean is None:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        dims = (0, *range(2, x.ndim))
        batch = moments(x, dims, mask, across_processes=True)
        update_running_stats(
            self,
            batch.mean.detach().flatten(),
            batch.variance.detach().flatten(),
            batch.number.detach().flatten(),
        )
        centred, scale = batch.centred, torch.rsqrt(batch.variance + self.eps)
        if not self.affine:
            return (centred * scale).to(input.dtype)
        weight, bias = (p.view(scale.shape) for p in (self.weight, self.bias))
        return (centred * (scale * weight) + bias).to(input.dtype)


def synchronise_norms(net: nn.Module) -> nn.Module:
    """Replace every nn.BatchNorm2d of a network by `GlobalBatchNorm2d`, in place.

    Parameters and buffers are kept.
    """
    for module in net.modules():
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                norm = GlobalBatchNorm2d(
                    child.num_features,
                    child.eps,
                    child.momentum,
                    child.affine,
                    child.track_running_stats,
                )
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm.train(child.training))
    return net
