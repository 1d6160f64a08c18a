"""Build networks of group convolutions: common settings, layers, and what the layers share."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.group_sampler import GroupSampler
from learnsym.distributions.sampling import FullSampling
from learnsym.groups.point_groups import Elements, SemidirectProduct, Stabiliser, Trivial
from learnsym.kernels.base import KernelSpec
from learnsym.layers.forward_context import ForwardContext
from learnsym.layers.group_conv import GroupConv, LiftingConv
from learnsym.schema import NonNegative, Size

_GOLDEN_RATIO = (5**0.5 - 1) / 2


class GroupNetwork(nn.Module):
    """Base of networks whose layers live on sampled elements of the stabiliser of a planar group.

    Args:
        in_channels: channels of the images.
        group: R^2 x| H; its stabiliser H decides over what the layers convolve.
        conv: full, or partial: every group convolution learns on which part of H its output lives.
        kernel: the kind of kernel network.
        kernel_size: side of the kernels, odd.
        monotonic_decay: weight of sum_l relu(theta_(l+1) - theta_l): a later layer shall not live
            on more than an earlier one.
        kernel_decay: weight decay of the sampled kernels and the biases (see
            `ContinuousGroupConv`).
    """

    smallest_side: int

    def __init__(
        self,
        in_channels: Size,
        group: SemidirectProduct,
        conv: FullSampling,
        kernel: KernelSpec,
        kernel_size: Size,
        monotonic_decay: NonNegative,
        kernel_decay: NonNegative,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv, self.kernel, self.kernel_size = conv, kernel, kernel_size
        self.plan = conv.resolve(group.stabiliser)
        self.monotonic_decay, self.kernel_decay = monotonic_decay, kernel_decay
        if monotonic_decay and not (conv.partial and group.stabiliser.rotations is None):
            raise ValueError(
                f"monotonic_decay={monotonic_decay} has no effect without learned arcs. Set it to 0"
                ", or take conv=partial, se2."
            )
        self._group = group

    @property
    def stabiliser(self) -> Stabiliser:
        """H; trivial for a planar network."""
        return self._group.stabiliser

    def lifting(self, in_channels: int, out_channels: int) -> LiftingConv:
        """Build the first convolution, over the whole of H."""
        elements = GroupSampler(self.conv, self.stabiliser, eval_offset=self._eval_offset(0))
        return LiftingConv(
            in_channels, out_channels, self.kernel, elements, self.kernel_size, self.kernel_decay
        )

    def group_conv(
        self,
        layer: int,
        in_channels: int,
        out_channels: int,
        valid: bool = False,
        planar: bool = False,
    ) -> GroupConv:
        """Build a convolution with a (perhaps learned) set of elements of its own.

        Args:
            layer: its index in the network; 0 is the lifting.
            in_channels: see `GroupConv`, as for the next two.
            out_channels: C'.
            valid: no padding.
            planar: on the identity alone.
        """
        conv, stabiliser = (FullSampling(), Trivial()) if planar else (self.conv, self.stabiliser)
        offset = self._eval_offset(layer)
        return GroupConv(
            in_channels,
            out_channels,
            self.kernel,
            GroupSampler(conv, stabiliser, learned=not planar, eval_offset=offset),
            self.kernel_size,
            valid,
            self.kernel_decay,
        )

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
        theta = torch.stack(
            [m.theta for m in self.modules() if isinstance(m, GroupSampler) and m.theta is not None]
        )
        return self.monotonic_decay * theta.diff().relu().sum()


def block_channels(channels: int, factors: Sequence[float]) -> list[int]:
    """Return the channels of every block from pairs (factor, number of blocks).

    >>> block_channels(32, [1, 1, 2, 1])
    [32, 64]
    """
    counts = factors[1::2]
    if (
        not factors
        or len(factors) % 2
        or any(n != int(n) or n < 1 for n in counts)
        or min(factors) <= 0
    ):
        raise ValueError(
            f"Expected pairs of a factor and a number of blocks, got block_width_factors="
            f"{list(factors)}. Try [1, 1, 2, 1]."
        )
    pairs = zip(factors[::2], counts, strict=True)
    return [round(factor * channels) for factor, n in pairs for _ in range(int(n))]


def check_blocks(name: str, indices: Sequence[int], blocks: int) -> None:
    """Check that all indices are those of blocks; 0 is the lifting.

    Raises:
        ValueError: one is not; `name` is that of the argument.
    """
    if bad := [b for b in indices if not 0 <= b <= blocks]:
        raise ValueError(
            f"{name}={list(indices)}: there is no block {bad[0]}; 0 is the lifting, {blocks} the "
            "last block."
        )


def spatial_max_pool(features: Tensor) -> Tensor:
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
