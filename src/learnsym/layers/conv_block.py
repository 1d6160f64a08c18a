"""The building block of the plain networks: convolution, batch norm, ReLU, optional pooling."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.layers.dropout import Dropout
from learnsym.schema import Fraction, Size
from learnsym.utils.rng import BatchRows


class ConvBlock(nn.Module):
    """Apply conv3x3 (padding 1), batch norm and ReLU; then max-pool 2 and dropout if asked for.

    Shape: [B, C, H, W] to [B, K, H, W], or [B, K, H // 2, W // 2] with `pool`.
    """

    def __init__(
        self, in_channels: Size, out_channels: Size, pool: bool = False, dropout: Fraction = 0.0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        # Channels-last weights make the whole chain channels-last, whatever the input's layout,
        # which is faster on a CPU.
        self.conv.to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = pool
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, rows: BatchRows | None = None) -> Tensor:
        """Map [B, C, H, W] to [B, K, H', W']; `rows`: see `Dropout`."""
        x = self.norm(self.conv(x))
        if self.pool:  # maximum and ReLU commute: pooling first leaves ReLU a quarter of the work
            x = F.max_pool2d(x, 2)
        return self.dropout(F.relu(x, inplace=True), rows)

    def extra_repr(self) -> str:
        """Return whether it pools, for print(network)."""
        return f"pool={self.pool}"
