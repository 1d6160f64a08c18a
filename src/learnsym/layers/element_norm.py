"""Normalise features on a group, [B, C, n, H, W]: the n elements count as so many more pixels."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.layers.batch_norm import GlobalBatchNorm2d, moments
from learnsym.schema import Size

NormName = Literal["batch", "instance", "layer", "none"]


class ElementNorm(nn.Module):
    """Normalise features [B, C, n, H, W] on a group.

    * batch: over images, elements and pixels, with a scale and a shift for every channel
    * instance: over elements and pixels, without
    * layer: over channels, elements and pixels, with a scale and a shift for every channel

    Elements that are absent from an image's set (see `Elements.weight`) count neither for the mean
    nor for the variance: the normalisation is over the set, whichever elements it has.
    """

    def __init__(self, channels: Size, kind: NormName = "batch") -> None:
        super().__init__()
        self.kind = kind
        self.batch = GlobalBatchNorm2d(channels) if kind == "batch" else None
        self.epsilon = 1e-5
        # A group of all channels: what goes with them is what group norm calls a group.
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
        image = moments(x, (2, 3, 4) if self.layer is None else (1, 2, 3, 4), mask)
        normal = image.centred * torch.rsqrt(image.variance + self.epsilon)
        if self.layer is not None:
            scale, shift = (p.view(1, -1, 1, 1, 1) for p in (self.layer.weight, self.layer.bias))
            normal = normal * scale + shift
        return normal.to(features.dtype)

    def extra_repr(self) -> str:
        """Return the kind, for print(network)."""
        return f"kind={self.kind}"
