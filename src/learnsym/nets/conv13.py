"""Conv13: the "13-layer" CNN of Augerino's CIFAR-10 experiment (Benton et al., 2020): nine
convolutions and a linear layer.
"""

from torch import Tensor, nn

from learnsym.layers.conv_block import ConvBlock
from learnsym.layers.input_checks import check_images
from learnsym.schema import Fraction, Size


class Conv13(nn.Module):
    """Three stages of three blocks conv3x3 + BN + ReLU: k, k, 2k | 2k, 2k, 2k | 2k, 2k, 2k; global
    average; linear.

    Between the stages a max-pool over 2 x 2 pixels and dropout.

    Args:
        in_channels: channels of the images.
        num_outputs: classes, or 1 for a regression.
        width: k. With k = 128: 3 993 482 parameters at 3 channels and 10 outputs.
        dropout: probability of dropout between the stages (0.3 in the paper).

    Shape: [B, in_channels, H, W] with H, W >= 4 to [B, num_outputs].

    >>> sum(p.numel() for p in Conv13(3, 10).parameters())
    3993482
    """

    smallest_side = 4  # two poolings must leave a pixel

    def __init__(
        self, in_channels: Size, num_outputs: Size, width: Size = 128, dropout: Fraction = 0.3
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        wide = 2 * width
        self.features = nn.Sequential(
            ConvBlock(in_channels, width),
            ConvBlock(width, width),
            ConvBlock(width, wide, pool=True, dropout=dropout),
            ConvBlock(wide, wide),
            ConvBlock(wide, wide),
            ConvBlock(wide, wide, pool=True, dropout=dropout),
            ConvBlock(wide, wide),
            ConvBlock(wide, wide),
            ConvBlock(wide, wide),
        )
        self.head = nn.Linear(wide, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, num_outputs]."""
        check_images("Conv13", images, self.in_channels, self.smallest_side)
        return self.head(self.features(images).mean((-2, -1)))
