"""SimpleConv: the small CNN of Augerino's Mario & Iggy and Olivetti experiments (Benton et al.,
2020, section 5).
"""

from torch import Tensor, nn

from learnsym.layers.conv_block import ConvBlock
from learnsym.layers.input_checks import check_images
from learnsym.schema import Size


class SimpleConv(nn.Module):
    """Four blocks conv3x3 + BN + ReLU of c, 2c (pool), 4c (pool), 8c (pool) channels; global
    maximum; linear.

    The paper ends with a max-pool over 4 x 4 pixels, which is the global maximum for its 32 x 32
    images. Here it is the global maximum for every size, so that digits of 8 x 8 (1 x 1 after three
    poolings) and faces of 45 x 45 fit the same network.

    Args:
        in_channels: channels of the images.
        num_outputs: classes, or 1 for a regression.
        width: c. With c = 32: 390 404 parameters at 3 channels and 4 outputs, 389 057 at 1 and 1.

    Shape: [B, in_channels, H, W] with H, W >= 8 to [B, num_outputs].

    >>> sum(p.numel() for p in SimpleConv(3, 4).parameters())
    390404
    """

    smallest_side = 8  # three poolings must leave a pixel

    def __init__(self, in_channels: Size, num_outputs: Size, width: Size = 32) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.features = nn.Sequential(
            ConvBlock(in_channels, width),
            ConvBlock(width, 2 * width, pool=True),
            ConvBlock(2 * width, 4 * width, pool=True),
            ConvBlock(4 * width, 8 * width, pool=True),
        )
        self.head = nn.Linear(8 * width, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, num_outputs]."""
        check_images("SimpleConv", images, self.in_channels, self.smallest_side)
        return self.head(self.features(images).amax((-2, -1)))
