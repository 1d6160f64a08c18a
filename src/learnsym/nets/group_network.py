"""Build networks of group convolutions: common settings, layers, and what the layers share."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.group_sampler import GroupSampler, group_samplers
from learnsym.distributions.sampling import FullSampling
from learnsym.groups.point_groups import Elements, SemidirectProduct, Trivial
from learnsym.kernels.base import KernelSpec
from learnsym.layers.forward_context import ForwardContext
from learnsym.layers.group_conv import GroupConv, LiftingConv

_GOLDEN_RATIO = (5**0.5 - 1) / 2


class GroupNetwork(nn.Module):
    """Base of networks whose layers live on sampled elements of the stabiliser of a planar group.

    The arguments are those of `CKResNet`. After `plan_blocks`, `sizes` are the channels after the
    lifting and after every block.
    """

    smallest_side: int

    def __init__(
        self,
        in_channels: int,
        group: SemidirectProduct,
        conv: FullSampling,
        kernel: KernelSpec,
        kernel_size: int,
        monotonic_decay: float,
        kernel_decay: float,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stabiliser = group.stabiliser
        self.conv, self.kernel, self.kernel_size = conv, kernel, kernel_size
        self.plan = conv.resolve(group.stabiliser)
        self.monotonic_decay, self.kernel_decay = monotonic_decay, kernel_decay
        if monotonic_decay and not (conv.partial and group.stabiliser.rotations is None):
            raise ValueError(
                f"monotonic_decay={monotonic_decay} has no effect without learned arcs. Set it to 0"
                ", or take conv=partial, se2."
            )

    def plan_blocks(
        self, channels: int, factors: Sequence[float], pool_blocks: Sequence[int]
    ) -> None:
        """Set the channels of the blocks and where space is halved; build the lifting."""
        self.sizes = [channels, *block_channels(channels, factors)]
        self.pool_blocks = self.checked_blocks("pool_blocks", pool_blocks)
        elements = GroupSampler(self.conv, self.stabiliser, eval_offset=self._eval_offset(0))
        size, decay = self.kernel_size, self.kernel_decay
        self.lift = LiftingConv(self.in_channels, channels, self.kernel, elements, size, decay)

    def checked_blocks(self, name: str, indices: Sequence[int]) -> frozenset[int]:
        """Return the indices if there are such blocks; 0 is the lifting."""
        last = len(self.sizes) - 1
        if bad := [b for b in indices if not 0 <= b <= last]:
            raise ValueError(
                f"{name}={list(indices)}: there is no block {bad[0]}; 0 is the lifting, {last} the "
                "last block."
            )
        return frozenset(indices)

    def group_conv(
        self,
        layer: int,
        in_channels: int,
        out_channels: int,
        valid: bool = False,
        planar: bool = False,
    ) -> GroupConv:
        """Build a convolution with a (perhaps learned) set of elements of its own.

        Its index in the network is `layer`; 0 is the lifting. A planar one has the identity alone.
        """
        conv, stabiliser = (FullSampling(), Trivial()) if planar else (self.conv, self.stabiliser)
        offset = self._eval_offset(layer)
        elements = GroupSampler(conv, stabiliser, learned=not planar, eval_offset=offset)
        size, decay = self.kernel_size, self.kernel_decay
        return GroupConv(in_channels, out_channels, self.kernel, elements, size, valid, decay)

    def _eval_offset(self, layer: int) -> float:
        """Return a layer's offset in evaluation.

        1/2 for all where they share their sets; otherwise steps of the golden ratio, so that no two
        layers stand in a special relation.
        """
        return 0.5 if self.plan.sets == "network" else (0.5 + layer * _GOLDEN_RATIO) % 1

    def with_offset(self, images: Tensor, context: ForwardContext | None) -> ForwardContext:
        """Return the context with the random offset [] of all layers' sets, if they share one."""
        context = ForwardContext() if context is None else context
        fixed = not self.training and self.conv.evaluation == "even"
        if self.plan.sets != "network" or not self.plan.random or fixed:
            return context
        dtype = next(self.parameters()).dtype
        return replace(context, offset=torch.rand((), device=images.device, dtype=dtype))

    def penalty(self) -> Tensor | float:
        """Return monotonic_decay * sum over group convolutions of relu(theta_(l+1) - theta_l)."""
        if not self.monotonic_decay:
            return 0.0
        theta = torch.stack([m.theta for m in group_samplers(self) if m.theta is not None])
        return self.monotonic_decay * theta.diff().relu().sum()


def block_channels(channels: int, factors: Sequence[float]) -> list[int]:
    """Return the channels of every block from pairs (factor, number of blocks).

    >>> block_channels(32, [1, 1, 2, 1])
    [32, 64]
    """
    counts = factors[1::2]
    if not factors or len(factors) % 2 or any(n % 1 or n < 1 for n in counts) or min(factors) <= 0:
        raise ValueError(
            f"Expected pairs of a factor and a number of blocks, got block_width_factors="
            f"{list(factors)}. Try [1, 1, 2, 1]."
        )
    pairs = zip(factors[::2], counts, strict=True)
    return [round(factor * channels) for factor, n in pairs for _ in range(int(n))]


def halve(features: Tensor) -> Tensor:
    """Take the maximum over 2 x 2 pixels, [B, C, n, H, W] to [B, C, n, H // 2, W // 2]."""
    return F.max_pool2d(features.flatten(1, 2), 2).unflatten(1, features.shape[1:3])


def mask_absent(features: Tensor, elements: Elements) -> Tensor:
    """Set features [B, C, n, H, W] to 0 where an element is absent from an image's set."""
    if elements.weight is None:
        return features
    return features * elements.weight[:, None, :, None, None].to(features.dtype)


def mean_over_elements(features: Tensor, elements: Elements) -> Tensor:
    """Average over the elements of each image's set, [B, C, n, H, W] to [B, C, H, W].

    Features of absent elements have to be zero already (`mask_absent`).
    """
    if elements.weight is None:
        return features.mean(2)
    return features.sum(2) / elements.weight.sum(-1)[:, None, None, None].to(features.dtype)
