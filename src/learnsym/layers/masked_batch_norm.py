"""Normalisation of features on a group, [B, C, n, H, W]: the n elements count as so many more
pixels.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from learnsym.schema import Size
from learnsym.utils.collectives import all_reduce_sum

NormName = Literal["batch", "instance", "layer", "none"]


class ElementNorm(nn.Module):
    """Normalise features on a group.

    * batch: over images, elements and pixels, with a scale and a shift for every channel
    * instance: over elements and pixels, without
    * layer: over channels, elements and pixels, with a scale and a shift for every channel

    Elements that are absent from an image's set (see `Elements.weight`) count neither for the mean
    nor for the variance: the normalisation is over the set, whichever elements it has.

    Args:
        channels: C.
        kind: "batch", "instance", "layer" or "none".

    Shape: features [B, C, n, H, W], weight [B, n] or None, to [B, C, n, H, W].
    """

    def __init__(self, channels: Size, kind: NormName = "batch") -> None:
        super().__init__()
        self.kind = kind
        self.batch = nn.BatchNorm2d(channels) if kind == "batch" else None
        self.epsilon = 1e-5
        # A group of all channels: what goes with them is what group norm calls a group.
        self.layer = nn.GroupNorm(1, channels, eps=self.epsilon) if kind == "layer" else None

    def forward(self, features: Tensor, weight: Tensor | None = None) -> Tensor:
        """[B, C, n, H, W] to the same."""
        if self.kind == "none":
            return features
        if weight is not None and (self.batch is None or self.training):
            return self._weighted(features, weight)
        flat = features.flatten(2, 3)
        if self.batch is not None:
            return self.batch(flat).view(features.shape)
        if self.layer is not None:
            return self.layer(flat).view(features.shape)
        return nn.functional.instance_norm(flat, eps=self.epsilon).view(features.shape)

    def _weighted(self, features: Tensor, weight: Tensor) -> Tensor:
        """With the mean and the variance over elements of weight 1."""
        over = {"batch": (0, 2, 3, 4), "instance": (2, 3, 4), "layer": (1, 2, 3, 4)}[self.kind]
        x = features.to(torch.promote_types(features.dtype, torch.float32))
        mask = weight[:, None, :, None, None].to(x.dtype)
        pixels = x.shape[3] * x.shape[4]
        count = (
            pixels
            * mask.sum((2,) if self.batch is None else (0, 2), keepdim=True).squeeze((3, 4))[
                ..., None, None
            ]
        )
        total = (x * mask).sum(over, keepdim=True)
        if self.batch is None:
            count = count * x.shape[1] if self.kind == "layer" else count
            centred = x - total / count
            normal = centred * torch.rsqrt(
                (centred.square() * mask).sum(over, keepdim=True) / count + self.epsilon
            )
            if self.layer is not None:
                normal = normal * self.layer.weight.view(1, -1, 1, 1, 1) + self.layer.bias.view(
                    1, -1, 1, 1, 1
                )
            return normal.to(features.dtype)
        count, total = all_reduce_sum(count), all_reduce_sum(total)
        mean = total / count
        centred = x - mean
        variance = all_reduce_sum((centred.square() * mask).sum(over, keepdim=True)) / count
        self._remember(
            mean.detach().flatten(), variance.detach().flatten(), count.detach().flatten()
        )
        scale = torch.rsqrt(variance + self.batch.eps) * self.batch.weight.view(1, -1, 1, 1, 1)
        return (centred * scale + self.batch.bias.view(1, -1, 1, 1, 1)).to(features.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics as nn.BatchNorm2d does (the variance unbiased)."""
        batch = self.batch
        assert batch is not None
        assert batch.running_mean is not None
        assert batch.running_var is not None
        batch.num_batches_tracked.add_(1)
        batch.running_mean.lerp_(mean.to(batch.running_mean.dtype), batch.momentum)
        batch.running_var.lerp_(
            (variance * count / (count - 1)).to(batch.running_var.dtype), batch.momentum
        )

    def extra_repr(self) -> str:
        """The kind, for print(network)."""
        return f"kind={self.kind}"
