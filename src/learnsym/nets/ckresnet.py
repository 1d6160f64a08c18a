"""CKResNet, the residual network of Partial G-CNNs (Romero and Lohit 2022, section 5)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.sampling import FullSampling
from learnsym.groups.point_groups import Elements, SemidirectProduct
from learnsym.kernels.base import KernelSpec
from learnsym.layers.dropout import Dropout
from learnsym.layers.forward_context import ForwardContext
from learnsym.layers.group_conv import PointwiseGroupConv
from learnsym.layers.input_checks import check_images
from learnsym.layers.norms import ElementNorm, NormName
from learnsym.nets.group_network import GroupNetwork, halve, mask_absent, mean_over_elements
from learnsym.schema import Count, Fraction, NonNegative, Positive, Size


class CKResNet(GroupNetwork):
    """Classify images by a residual network of group convolutions.

    Lifting, norm, ReLU; residual blocks; a convolution without padding, norm, ReLU; maximum over
    elements and space; linear. A block is conv, instance norm, ReLU, dropout, conv, instance norm,
    ReLU, plus a pointwise group convolution of its input (the identity where the network is planar
    and the channels stay), norm, ReLU. Where a pooling is due it comes before the last ReLU.

    Args:
        group: R^2 x| H; translation2 makes a planar network, one element.
        conv: how the layers sample H; partial: every group convolution learns on which part of H
            its output lives.
        block_width_factors: pairs of a multiple of `channels` (those after the lifting) and a
            number of blocks that have it.
        pool_blocks: after which blocks space is halved; 0 is the lifting.
        norm: of lifting, blocks and last convolution.
        last_conv_t2: mean over the group before the last convolution, which then is planar.
        learnable_final_pooling: a learned linear map of elements and pixels (`final_spatial_dim` is
            the side of the last feature map) instead of the maximum; only with conv=full.
        monotonic_decay: weight of sum_l relu(theta_(l+1) - theta_l): a later layer shall not live
            on more than an earlier one.
        kernel_decay: of the sampled kernels and the biases, see `ContinuousGroupConv`.

    Shape: [B, in_channels, H, W] to [B, num_outputs].

    >>> import torch
    >>> from learnsym.distributions.sampling import PartialSampling
    >>> from learnsym.groups.planar import SE2
    >>> from learnsym.kernels.siren import SIREN
    >>> net = CKResNet(1, 10, SE2(), PartialSampling(), SIREN(), channels=4, kernel_size=5)
    >>> net(torch.randn(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: Size,
        num_outputs: Size,
        group: SemidirectProduct,
        conv: FullSampling,
        kernel: KernelSpec,
        channels: Size = 32,
        block_width_factors: tuple[Positive, ...] = (1, 1, 2, 1),
        kernel_size: Size = 7,
        pool_blocks: tuple[Count, ...] = (1, 2),
        dropout: Fraction = 0.0,
        norm: NormName = "batch",
        last_conv_t2: bool = False,
        learnable_final_pooling: bool = False,
        final_spatial_dim: Size | None = None,
        monotonic_decay: NonNegative = 0.0,
        kernel_decay: NonNegative = 0.0,
    ) -> None:
        super().__init__(
            in_channels, group, conv, kernel, kernel_size, monotonic_decay, kernel_decay
        )
        self.plan_blocks(channels, block_width_factors, pool_blocks)
        self.smallest_side = kernel_size * 2 ** len(self.pool_blocks)
        self.lift_norm = ElementNorm(channels, norm)
        self.blocks = nn.ModuleList(
            _Block(self, 2 * index + 1, c, k, dropout, norm)
            for index, (c, k) in enumerate(pairwise(self.sizes))
        )
        self.last_conv_t2 = last_conv_t2
        layer, last = 2 * len(self.blocks) + 1, self.sizes[-1]
        self.last = self.group_conv(layer, last, last, valid=True, planar=last_conv_t2)
        self.last_norm = ElementNorm(last, norm)
        self.pooling = self._final_pooling(learnable_final_pooling, final_spatial_dim)
        self.head = nn.Linear(last, num_outputs)

    def _final_pooling(self, learnable: bool, side: int | None) -> nn.Linear | None:
        if not learnable and side is None:
            return None
        if not learnable:
            raise ValueError(
                f"final_spatial_dim={side} has no effect without learnable_final_pooling=true. "
                "Set it to null."
            )
        if self.conv.partial:
            raise ValueError(
                "learnable_final_pooling=true goes with conv=full: a partial network has no fixed "
                "number of elements to weigh. Set it to false, which takes the maximum."
            )
        if side is None:
            raise ValueError(
                "learnable_final_pooling=true needs final_spatial_dim, the last feature map's side."
            )
        return nn.Linear((1 if self.last_conv_t2 else self.plan.samples) * side * side, 1)

    def forward(self, images: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Map [B, in_channels, H, W] to [B, num_outputs]."""
        check_images("CKResNet", images, self.in_channels, self.smallest_side)
        context = self.with_offset(images, context)
        x, elements = self.lift(images, context)
        x = self.lift_norm(x)
        x = F.relu(halve(x) if 0 in self.pool_blocks else x)
        for index, block in enumerate(self.blocks, start=1):
            x, elements = block(x, elements, context, index in self.pool_blocks)
        if self.last_conv_t2:
            x = mean_over_elements(x, elements).unsqueeze(2)
            elements = Elements(x.new_zeros(1), x.new_ones(1))  # the identity
        x, elements = self.last(x, elements, context)
        x = mask_absent(F.relu(self.last_norm(x, elements.weight)), elements)
        return self.head(self._pool(x))

    def _pool(self, x: Tensor) -> Tensor:
        if self.pooling is None:
            # After a ReLU, so that the zeros of absent elements decide nothing.
            return x.amax((2, 3, 4))
        if x.shape[2:].numel() != self.pooling.in_features:
            raise ValueError(
                f"final_spatial_dim does not fit: the last feature map is {x.shape[-2]} x "
                f"{x.shape[-1]}."
            )
        return self.pooling(x.flatten(2)).squeeze(-1)


class _Block(nn.Module):
    """A residual block, see `CKResNet`; its convolutions are layers `layer` and `layer + 1`."""

    def __init__(
        self,
        net: GroupNetwork,
        layer: int,
        in_channels: int,
        out_channels: int,
        dropout: float,
        norm: NormName,
    ) -> None:
        super().__init__()
        self.conv1 = net.group_conv(layer, in_channels, out_channels)
        self.norm1 = ElementNorm(out_channels, "instance")
        self.dropout = Dropout(dropout)
        self.conv2 = net.group_conv(layer + 1, out_channels, out_channels)
        self.norm2 = ElementNorm(out_channels, "instance")
        self.shortcut: PointwiseGroupConv | None = None
        if not net.stabiliser.trivial or in_channels != out_channels:
            self.shortcut = PointwiseGroupConv(
                in_channels, out_channels, net.kernel, self.conv2.elements, net.kernel_decay
            )
        self.norm = ElementNorm(out_channels, norm)

    def forward(
        self, x: Tensor, elements: Elements, context: ForwardContext, pool: bool
    ) -> tuple[Tensor, Elements]:
        """Map [B, C, n, H, W] on n elements to [B, C', n', H', W'] and the n' elements."""
        y, inner = self.conv1(x, elements, context)
        y = mask_absent(F.relu(self.norm1(y, inner.weight)), inner)
        y, out = self.conv2(self.dropout(y, context.rows), inner, context)
        y = F.relu(self.norm2(y, out.weight))
        shortcut = x if self.shortcut is None else self.shortcut(x, elements, out, context)
        y = self.norm(y + shortcut, out.weight)
        return mask_absent(F.relu(halve(y) if pool else y), out), out
