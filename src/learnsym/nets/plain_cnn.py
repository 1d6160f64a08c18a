"""The plain CNNs of Augerino's experiments on images (Benton et al., 2020, section 5)."""

from itertools import pairwise

from torch import Tensor, nn

from learnsym.layers.conv_block import ConvBlock
from learnsym.layers.forward_context import ForwardContext, rows_of
from learnsym.layers.input_checks import check_images
from learnsym.schema import Fraction, Size


class _PlainCNN(nn.Module):
    """Blocks conv3x3 + BN + ReLU, a global pooling, a linear layer."""

    layout: tuple[tuple[int, str], ...]
    """Of every block the channels in units of the width, and whether "pool", "dropout" follow."""
    smallest_side = 4
    """So many pixels leave one after all poolings."""

    def __init__(
        self, in_channels: Size, num_outputs: Size, width: Size = 128, dropout: Fraction = 0.3
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        sizes = [in_channels, *(multiple * width for multiple, _ in self.layout)]
        self.features = nn.Sequential()
        for (c, k), (_, after) in zip(pairwise(sizes), self.layout, strict=True):
            probability = dropout if "dropout" in after else 0.0
            self.features.append(ConvBlock(c, k, "pool" in after, probability))
        self.head = nn.Linear(sizes[-1], num_outputs)

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

    Four blocks of c, 2c (pool), 4c (pool), 8c (pool) channels, c = `width`; global maximum; linear.
    The paper ends with a max-pool over 4 x 4 pixels, which for its 32 x 32 images is the global
    maximum; so images of any size from 8 x 8 on fit the same network.

    Shape: [B, in_channels, H, W] with H, W >= 8 to [B, num_outputs].

    >>> sum(p.numel() for p in SimpleConv(3, 4).parameters())
    390404
    """

    layout = ((1, ""), (2, "pool"), (4, "pool"), (8, "pool"))
    smallest_side = 8

    def __init__(self, in_channels: Size, num_outputs: Size, width: Size = 32) -> None:
        super().__init__(in_channels, num_outputs, width)

    def pool(self, features: Tensor) -> Tensor:
        """Take the maximum over space, [B, C, H, W] to [B, C]."""
        return features.amax((-2, -1))


class Conv5(_PlainCNN):
    """Classify digits: the five-block CNN of the rotated-MNIST experiment.

    Blocks of k, k, 2k | pool, dropout | 2k | pool, dropout | 2k, dropout channels, k = `width`;
    global average; linear.

    Shape: [B, in_channels, H, W] with H, W >= 4 to [B, num_outputs].

    >>> sum(p.numel() for p in Conv5(1, 10).parameters())
    1628810
    """

    layout = ((1, ""), (1, ""), (2, "pool, dropout"), (2, "pool, dropout"), (2, "dropout"))


class Conv13(_PlainCNN):
    """Classify photographs: the "13-layer" CNN of the CIFAR-10 experiment.

    Nine convolutions in three stages, k, k, 2k | 2k, 2k, 2k | 2k, 2k, 2k channels, k = `width`, a
    max-pool over 2 x 2 pixels and dropout between them; global average; linear.

    Shape: [B, in_channels, H, W] with H, W >= 4 to [B, num_outputs].

    >>> sum(p.numel() for p in Conv13(3, 10).parameters())
    3993482
    """

    layout = (
        *((1, ""), (1, ""), (2, "pool, dropout")),
        *((2, ""), (2, ""), (2, "pool, dropout")),
        *((2, ""), (2, ""), (2, "")),
    )
