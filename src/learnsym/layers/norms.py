"""Norms over the global batch of several processes, and over what a mask leaves of it.

torch.nn.SyncBatchNorm takes GPU tensors only, and no mask. Sums over processes are differentiable
all-reduces here, so that two CPU processes give the numbers of one.
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.layers.fast import product_dtype
from learnsym.layers.fast.swish_linear import row_moments, scaled_swish_linear
from learnsym.schema import Size
from learnsym.utils.collectives import all_reduce_sum, is_distributed

NormName = Literal["batch", "instance", "layer", "none"]


def moments(
    x: Tensor, dims: tuple[int, ...], mask: Tensor | None = None, across_processes: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return number, mean and biased variance over dimensions, which keep size 1, and x - mean.

    x is in at least float32. A mask is 1 where a value counts and 0 elsewhere; it broadcasts to x.
    """

    def total(values: Tensor) -> Tensor:
        values = values if mask is None else values * mask.to(x.dtype)
        here = values.sum(dims, keepdim=True)
        return all_reduce_sum(here) if across_processes else here

    shape = (1,) * x.ndim if mask is None else mask.shape
    repeats = math.prod(x.shape[d] // shape[d] for d in dims)
    number = total(x.new_full(shape, repeats))
    mean = total(x) / number
    centred = x - mean
    # A second pass for the variance: sums of squares would cancel.
    return number, mean, total(centred.square()) / number, centred


@torch.no_grad()
def update_running_stats(norm: Any, number: int | Tensor, mean: Tensor, variance: Tensor) -> None:
    """Move a batch norm's statistics towards a batch's mean and biased variance, as torch does."""
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    unbiased = variance * (number / (number - 1))
    norm.running_mean.lerp_(mean.flatten().to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(unbiased.flatten().to(norm.running_var.dtype), momentum)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Normalise with the statistics of the global batch and of what a mask leaves of it.

    The same state_dict and, in one process without a mask, the same numbers as nn.BatchNorm2d.
    """

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise [B, C, H, W], or with a mask (see `moments`) any [B, C, ...]."""
        plain = not self.training or (mask is None and not is_distributed())
        if plain or self.running_mean is None:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        number, mean, variance, centred = moments(x, (0, *range(2, x.ndim)), mask, True)
        update_running_stats(self, number, mean, variance)
        scale = torch.rsqrt(variance + self.eps)
        if not self.affine:
            return (centred * scale).to(input.dtype)
        weight, bias = (p.view(scale.shape) for p in (self.weight, self.bias))
        return (centred * (scale * weight) + bias).to(input.dtype)


def synchronise_norms(net: nn.Module) -> nn.Module:
    """Make every nn.BatchNorm2d of a network a `GlobalBatchNorm2d`, in place."""
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d  # which differs in its forward pass alone
    return net


class ElementNorm(nn.Module):
    """Normalise features on a group, [B, C, n, H, W]: the n elements count as so many more pixels.

    * batch: over images, elements and pixels, with a scale and a shift for every channel
    * instance: over elements and pixels, without
    * layer: over channels, elements and pixels, with a scale and a shift for every channel

    Elements that are absent from an image's set (see `Elements.weight`) do not count.
    """

    def __init__(self, channels: Size, kind: NormName = "batch") -> None:
        super().__init__()
        self.kind = kind
        self.batch = GlobalBatchNorm2d(channels) if kind == "batch" else None
        self.epsilon = 1e-5
        self.layer = nn.GroupNorm(1, channels, eps=self.epsilon) if kind == "layer" else None

    def forward(self, features: Tensor, weight: Tensor | None = None) -> Tensor:
        """Normalise [B, C, n, H, W], over elements of weight [B, n]."""
        if self.kind == "none":
            return features
        mask = None if weight is None else weight[:, None, :, None, None]
        if self.batch is not None and mask is not None and self.training:
            return self.batch(features, mask)
        if self.batch is None and mask is not None:
            return self._masked(features, mask)
        norm = self.batch or self.layer or F.instance_norm  # each with an epsilon of 1e-5
        return norm(features.flatten(2, 3)).view(features.shape)

    def _masked(self, features: Tensor, mask: Tensor) -> Tensor:
        """Normalise each image over its elements of weight 1."""
        x = features.to(torch.promote_types(features.dtype, torch.float32))
        dims = (2, 3, 4) if self.layer is None else (1, 2, 3, 4)
        _, _, variance, centred = moments(x, dims, mask)
        normal = centred * torch.rsqrt(variance + self.epsilon)
        if self.layer is not None:
            scale, shift = (p.view(1, -1, 1, 1, 1) for p in (self.layer.weight, self.layer.bias))
            normal = normal * scale + shift
        return normal.to(features.dtype)

    def extra_repr(self) -> str:
        """Return the kind, for print(network)."""
        return f"kind={self.kind}"


class SwishNorm(nn.BatchNorm1d):
    """Compute swish(batch norm(x)) of rows, followed by a linear map if one is given.

    Rows are the points of all examples laid end to end, padding left out: the "masked" batch norm
    of LieConv. With the mean m and variance v of a channel, over the rows of all processes, batch
    norm is x -> x * scale + shift, scale = weight / sqrt(v + eps) and shift = bias - m * scale.
    """

    def forward(self, rows: Tensor, linear: nn.Linear | None = None) -> Tensor:
        """Map [P, C] to [P, C], or to linear(swish(batch norm(rows))) in autocast's precision."""
        rows = rows.to(torch.promote_types(rows.dtype, self.weight.dtype))
        mean, variance = self.running_mean, self.running_var
        if self.training:
            number, mean, variance = _row_moments(rows)
            update_running_stats(self, number, mean, variance)
        assert mean is not None
        assert variance is not None
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        if not self.training:
            active = F.silu(torch.addcmul(shift, rows, scale))
            return active if linear is None else linear(active)
        if linear is None:
            return scaled_swish_linear(rows, scale, shift, None, None)
        weight, bias = (p.to(product_dtype(rows)) for p in (linear.weight, linear.bias))
        return scaled_swish_linear(rows, scale, shift, weight, bias)


def _row_moments(rows: Tensor) -> tuple[int | Tensor, Tensor, Tensor]:
    """Return the number of rows of all processes, their mean and biased variance [C]."""
    if is_distributed():
        number, mean, variance, _ = moments(rows, (0,), across_processes=True)
        return number.flatten(), mean.flatten(), variance.flatten()
    if len(rows) < 2:
        raise ValueError(
            "Expected at least 2 points (or pairs of them) in a batch, for batch norm in training, "
            f"got {len(rows)}."
        )
    return len(rows), *row_moments(rows)
