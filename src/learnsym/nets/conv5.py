"""Conv5: the five-block CNN of Augerino's rotated-MNIST experiment (Benton et al., 2020, section
5).
"""

from torch import Tensor, nn

from learnsym.layers.conv_block import ConvBlock
from learnsym.layers.input_checks import check_images
from learnsym.schema import Fraction, Size


class Conv5(nn.Module):
    """Five blocks conv3x3 + BN + ReLU: k, k, 2k | pool, dropout | 2k | pool, dropout | 2k, dropout;
    global average; linear.

    Args:
        in_channels: channels of the images.
        num_outputs: classes, or 1 for a regression.
        width: k. With k = 128: 1 628 810 parameters at 1 channel and 10 outputs.
        dropout: probability of dropout (0.3 in the paper).

    Shape: [B, in_channels, H, W] with H, W >= 4 to [B, num_outputs].

    >>> sum(p.numel() for p in Conv5(1, 10).parameters())
    1628810
    """

    smallest_side = 4  # two poolings must leave a pixel

    def __init__(
        self, in_channels: Size, num_outputs: Size, width: Size = 128, dropout: Fraction = 0.3
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.features = nn.Sequential(
            ConvBlock(in_channels, width),
            ConvBlock(width, width),
            ConvBlock(width, 2 * width, pool=True, dropout=dropout),
            ConvBlock(2 * width, 2 * width, pool=True, dropout=dropout),
            ConvBlock(2 * width, 2 * width, dropout=dropout),
        )
        self.head = nn.Linear(2 * width, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, num_outputs]."""
        check_images("Conv5", images, self.in_channels, self.smallest_side)
        return self.head(self.features(images).mean((-2, -1)))
