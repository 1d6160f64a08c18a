"""Batch norm and swish of rows [P, C].

With the mean m and variance v of a channel, batch norm is x -> x * scale + shift, scale = weight /
sqrt(v + eps) and shift = bias - m * scale. Rows are the points of all examples laid end to end,
padding left out: the "masked" batch norm of LieConv.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.layers.batch_norm import moments, update_running_stats
from learnsym.layers.fast.swish_linear import row_moments, scaled_swish, scaled_swish_linear
from learnsym.schema import Size
from learnsym.utils.collectives import is_distributed


class SwishNorm(nn.BatchNorm1d):
    """Compute swish(batch norm(x)) of rows, followed by a linear map if one is given.

    With several processes the mean and variance are those of all their rows.

    Args:
        channels: C.

    Shape: [P, C] to [P, C], or to [P, C'] with a linear map C -> C'.

    >>> SwishNorm(3).eval()(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    def __init__(self, channels: Size) -> None:
        super().__init__(channels)

    def forward(self, rows: Tensor, linear: nn.Linear | None = None) -> Tensor:
        """Map [P, C] to [P, C], or to linear(swish(batch norm(rows))) in autocast's precision."""
        rows = rows.to(torch.promote_types(rows.dtype, self.weight.dtype))
        scale, shift = self._scale_and_shift(rows)
        if not self.training:
            active = F.silu(torch.addcmul(shift, rows, scale))
            return active if linear is None else linear(active)
        if linear is None:
            return scaled_swish(rows, scale, shift)
        dtype = product_dtype(rows)
        return scaled_swish_linear(
            rows, scale, shift, linear.weight.to(dtype), linear.bias.to(dtype)
        )

    def _scale_and_shift(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return both [C]: in training from the rows' mean and variance, else from running ones."""
        mean, variance = self.running_mean, self.running_var
        if self.training:
            count, mean, variance = _row_moments(rows)
            update_running_stats(self, mean.detach(), variance.detach(), count)
        assert mean is not None
        assert variance is not None
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return scale, self.bias - mean * scale


def _row_moments(rows: Tensor) -> tuple[int | Tensor, Tensor, Tensor]:
    """Return the number of rows of all processes, their mean and biased variance [C]."""
    if is_distributed():
        batch = moments(rows, (0,), across_processes=True)
        return batch.number.detach().flatten(), batch.mean.flatten(), batch.variance.flatten()
    if len(rows) < 2:
        raise ValueError(
            "Expected at least 2 points (or pairs of them) in a batch, for batch norm in training, "
            f"got {len(rows)}."
        )
    return len(rows), *row_moments(rows)


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a product with x is computed: autocast's where that is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
