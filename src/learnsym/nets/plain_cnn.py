"""The plain CNNs of Augerino's experiments on images (Benton et al., 2020, section 5)."""

from torch import Tensor, nn

from learnsym.layers.conv_block import ConvBlock
from learnsym.layers.forward_context import ForwardContext, rows_of
from learnsym.layers.input_checks import check_images
from learnsym.schema import Fraction, Size


class _PlainCNN(nn.Module):
    """Blocks conv3x3 + BN + ReLU, a global pooling, a linear layer."""

    smallest_side: int
    """So many pixels leave one after all poolings."""

    def __init__(self, blocks: list[ConvBlock], num_outputs: int) -> None:
        super().__init__()
        self.in_channels = blocks[0].conv.in_channels
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(blocks[-1].conv.out_channels, num_outputs)

    def forward(self, images: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Map [B, in_channels, H, W] to [B, num_outputs]."""
        check_images(type(self).__name__, images, self.in_channels, self.smallest_side)
        features = images
        for block in self.features:
            features = block(features, rows_of(context))
        return self.head(self.pool(features))

    def pool(self, features: Tensor) -> Tensor:
        """Average over space, [B, C, H, W] to [B, C]."""
        return features.mean((-2, -1))


class SimpleConv(_PlainCNN):
    """Classify small images: the CNN of the Mario & Iggy and Olivetti experiments.

    Four blocks of c, 2c (pool), 4c (pool), 8c (pool) channels; global maximum; linear. The paper
    ends with a max-pool over 4 x 4 pixels, which is the global maximum for its 32 x 32 images. Here
    it is the global maximum for every size, so that digits of 8 x 8 (1 x 1 after three poolings)
    and faces of 45 x 45 fit the same network.

    Args:
        in_channels: channels of the images.
        num_outputs: classes, or 1 for a regression.
        width: c. With c = 32: 390 404 parameters at 3 channels and 4 outputs, 389 057 at 1 and 1.

    Shape: [B, in_channels, H, W] with H, W >= 8 to [B, num_outputs].

    >>> sum(p.numel() for p in SimpleConv(3, 4).parameters())
    390404
    """

    smallest_side = 8

    def __init__(self, in_channels: Size, num_outputs: Size, width: Size = 32) -> None:
        blocks = [
            ConvBlock(in_channels, width),
            ConvBlock(width, 2 * width, pool=True),
            ConvBlock(2 * width, 4 * width, pool=True),
            ConvBlock(4 * width, 8 * width, pool=True),
        ]
        super().__init__(blocks, num_outputs)

    def pool(self, features: Tensor) -> Tensor:
        """Take the maximum over space, [B, C, H, W] to [B, C]."""
        return features.amax((-2, -1))


class Conv5(_PlainCNN):
    """Classify digits: the five-block CNN of the rotated-MNIST experiment.

    Blocks of k, k, 2k | pool, dropout | 2k | pool, dropout | 2k, dropout; global average; linear.

    Args:
        in_channels: channels of the images.
        num_outputs: classes, or 1 for a regression.
        width: k. With k = 128: 1 628 810 parameters at 1 channel and 10 outputs.
        dropout: probability of dropout (0.3 in the paper).

    Shape: [B, in_channels, H, W] with H, W >= 4 to [B, num_outputs].

    >>> sum(p.numel() for p in Conv5(1, 10).parameters())
    1628810
    """

    smallest_side = 4

    def __init__(
        self, in_channels: Size, num_outputs: Size, width: Size = 128, dropout: Fraction = 0.3
    ) -> None:
        blocks = [
            ConvBlock(in_channels, width),
            ConvBlock(width, width),
            ConvBlock(width, 2 * width, pool=True, dropout=dropout),
            ConvBlock(2 * width, 2 * width, pool=True, dropout=dropout),
            ConvBlock(2 * width, 2 * width, dropout=dropout),
        ]
        super().__init__(blocks, num_outputs)


class Conv13(_PlainCNN):
    """Classify photographs: the "13-layer" CNN of the CIFAR-10 experiment.

    Nine convolutions in three stages: k, k, 2k | 2k, 2k, 2k | 2k, 2k, 2k; global average; linear.
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

    smallest_side = 4

    def __init__(
        self, in_channels: Size, num_outputs: Size, width: Size = 128, dropout: Fraction = 0.3
    ) -> None:
        wide = 2 * width
        blocks = [
            ConvBlock(in_channels, width),
            ConvBlock(width, width),
            ConvBlock(width, wide, pool=True, dropout=dropout),
            ConvBlock(wide, wide),
            ConvBlock(wide, wide),
            ConvBlock(wide, wide, pool=True, dropout=dropout),
            *(ConvBlock(wide, wide) for _ in range(3)),
        ]
        super().__init__(blocks, num_outputs)
