"""GCNN, Laine and Aila's (2017) 13 layers, of group convolutions (Romero and Lohit 2022)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.sampling import FullSampling
from learnsym.groups.point_groups import SemidirectProduct
from learnsym.kernels.base import KernelSpec
from learnsym.layers.dropout import Dropout
from learnsym.layers.forward_context import ForwardContext
from learnsym.layers.input_checks import check_images
from learnsym.layers.norms import ElementNorm, NormName
from learnsym.nets.group_network import GroupNetwork, halve, mask_absent, mean_over_elements
from learnsym.schema import Count, Fraction, NonNegative, Positive, Size
from learnsym.utils.rng import BatchRows


class GCNN(GroupNetwork):
    """Classify images by a plain chain of group convolutions.

    Lifting, norm, ReLU; blocks of group convolution, norm, ReLU (eight in the paper); mean over
    elements and space; linear. Dropout acts after `dropout_blocks`; the other arguments are those
    of `CKResNet`.
    """

    def __init__(
        self,
        in_channels: Size,
        num_outputs: Size,
        group: SemidirectProduct,
        conv: FullSampling,
        kernel: KernelSpec,
        channels: Size = 128,
        block_width_factors: tuple[Positive, ...] = (1, 1, 2, 7),
        kernel_size: Size = 3,
        pool_blocks: tuple[Count, ...] = (2, 5),
        dropout_blocks: tuple[Count, ...] = (2, 5, 8),
        dropout: Fraction = 0.3,
        norm: NormName = "batch",
        monotonic_decay: NonNegative = 0.0,
        kernel_decay: NonNegative = 0.0,
    ) -> None:
        super().__init__(
            in_channels, group, conv, kernel, kernel_size, monotonic_decay, kernel_decay
        )
        self.plan_blocks(channels, block_width_factors, pool_blocks)
        self.dropout_blocks = self.checked_blocks("dropout_blocks", dropout_blocks)
        self.smallest_side = 2 ** len(self.pool_blocks)
        self.convs = nn.ModuleList(
            self.group_conv(layer, c, k) for layer, (c, k) in enumerate(pairwise(self.sizes), 1)
        )
        self.norms = nn.ModuleList(ElementNorm(c, norm) for c in self.sizes)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(self.sizes[-1], num_outputs)

    def forward(self, images: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Map [B, in_channels, H, W] to [B, num_outputs]."""
        check_images("GCNN", images, self.in_channels, self.smallest_side)
        context = self.with_offset(images, context)
        x, elements = self.lift(images, context)
        x = self._finish_block(self.norms[0](x), 0, context.rows)
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms[1:], strict=True), start=1):
            x, elements = conv(x, elements, context)
            x = self._finish_block(norm(x, elements.weight), index, context.rows)
            x = mask_absent(x, elements)
        return self.head(mean_over_elements(x, elements).mean((-2, -1)))

    def _finish_block(self, x: Tensor, block: int, rows: BatchRows | None) -> Tensor:
        x = F.relu(halve(x) if block in self.pool_blocks else x)
        return self.dropout(x, rows) if block in self.dropout_blocks else x
